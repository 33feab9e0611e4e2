"""Which views a model does not get to see, so that its result can be judged by photographs it was not fitted to."""

from __future__ import annotations

from dataclasses import replace

from meshdrop.models.capture.capture import Capture

#: Captures with up to this many views have none to spare.
FITTED_AT_LEAST = 8
#: Of larger captures one view in this many is held out.
ONE_IN = 6


def hold_out(capture: Capture) -> tuple[Capture, tuple[str, ...]]:
    """The capture without its held-out views, and their names; all views and no names for up to eight views.

    The choice is even over the order of the views and always the same: views 3, 9, 15, ... never the first, and
    never so many that fewer than eight are left.
    """
    names = [view.name for view in capture.views]
    spare = max(len(names) - FITTED_AT_LEAST, 0)
    held = tuple(names[ONE_IN // 2 :: ONE_IN][:spare])
    return replace(capture, views=tuple(view for view in capture.views if view.name not in held)), held
