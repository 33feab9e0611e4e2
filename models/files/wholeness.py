"""Whether all of a file is there, once its end is: words that every judge of pictures uses. Standard library only."""

from __future__ import annotations

from typing import Literal

#: ``hole``: a stretch of zeros lies in it, as where a copy program has not been yet; ``damaged``: wrong otherwise.
State = Literal["whole", "hole", "damaged"]

#: Compressed pixels never hold so many zeros in a row; files that a copy program has only given their size do.
HOLE = bytes(512)
