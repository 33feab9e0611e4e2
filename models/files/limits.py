"""How large and how odd a capture may be, and how heavy its report.

Plain values, so that the daemon can hold them without numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Larger meshes than this do not travel inside report.html as they are; a lighter copy of at most this size does.
#: Chromium shows 92 MB too, after 15 to 39 s; phones and mail servers do not.
VIEWER_BYTES = 25_000_000


@dataclass(frozen=True)
class CaptureLimits:
    """Upper and lower bounds checked before any image decoder runs; all sizes in bytes or pixels."""

    max_file_bytes: int = 20_000_000
    max_capture_bytes: int = 200_000_000
    #: Of what lies beside the set and goes into the result with it.
    max_extra_bytes: int = 200_000_000
    #: A minute and a half of photographs and depth at thirty frames a second, of which few are used.
    max_entries: int = 6000
    max_depth: int = 3
    max_sidecar_bytes: int = 65_536
    #: Of somebody else's file of cameras: a hundred views of Blender's are 110 kB, a thousand of nerfstudio's one MB.
    max_cameras_bytes: int = 2_097_152
    min_views: int = 3
    #: Of a longer sequence so many views are used, evenly spread; a capture may ask for another number.
    max_views: int = 200
    min_side: int = 16
    max_side: int = 8192
    max_pixels: int = 40_000_000
    #: Of all photographs together: the reader needs about 25 bytes of memory for each, and may have 6 GiB.
    max_capture_pixels: int = 200_000_000
    max_png_chunks: int = 4096
    max_ancillary_bytes: int = 1_048_576
    #: "canonical": at this site pictures without cameras are the standard rig's, if they can be.
    default_rig: str = ""
    #: The models of somebody's own: what lies in folders of their names is no part of a capture that came back from us.
    custom_models: tuple[str, ...] = ()
