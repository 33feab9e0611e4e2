"""How often what failed is tried again, and how long is waited in between."""

from __future__ import annotations

#: Pauses before attempt 2 and 3; other jobs go first meanwhile.
BACK_OFF_S = (10.0, 60.0)
#: Pause after a full disk, which is not the job's fault: work is to go on soon after there is room again.
DISK_BACK_OFF_S = 15.0
MAX_ATTEMPTS = 3
MAX_INGEST_TRIES = 3
MAX_FINISH_TRIES = 3
#: Tries at one step of a job that fails though the machine is sound; then the job gets out of the way.
MAX_TROUBLES = 3
MAX_REFUNDS = 20
