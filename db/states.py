"""A job's states, one sentence each, and the moves between them."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job stands. The order of commits and renames behind each is told in docs/architecture.md."""

    CLAIMING = "CLAIMING"  # the intent to take a folder is recorded; it may or may not have left the inbox
    QUEUED = "QUEUED"  # copied, checked and waiting for its turn
    RUNNING = "RUNNING"  # an attempt has begun; its number was counted before anything was started
    DELIVERING = "DELIVERING"  # the result is complete on disk; only the rename into outbox/ is left
    DONE = "DONE"  # published in outbox/
    DONE_CLEAN = "DONE_CLEAN"  # published, and its private folders are cleared as far as they can be
    FAIL_PENDING = "FAIL_PENDING"  # it is decided that the job fails; the bundle for failed/ is not built yet
    FAILING = "FAILING"  # the bundle is complete on disk; only the rename into failed/ is left
    FAILED = "FAILED"  # published in failed/
    FAILED_CLEAN = "FAILED_CLEAN"  # published in failed/, and its private folders are cleared as far as they can be
    ABANDONED = "ABANDONED"  # nothing was taken, or it was put back into the inbox; a new job will take it


#: The only moves there are. The database enforces the same table with a trigger.
MOVES: dict[State, frozenset[State]] = {
    State.CLAIMING: frozenset({State.QUEUED, State.FAIL_PENDING, State.ABANDONED}),
    State.QUEUED: frozenset({State.RUNNING, State.FAIL_PENDING}),
    State.RUNNING: frozenset({State.QUEUED, State.DELIVERING, State.FAIL_PENDING}),
    State.DELIVERING: frozenset({State.DONE}),
    State.DONE: frozenset({State.DONE_CLEAN}),
    State.DONE_CLEAN: frozenset(),
    State.FAIL_PENDING: frozenset({State.FAILING}),
    State.FAILING: frozenset({State.FAILED}),
    State.FAILED: frozenset({State.FAILED_CLEAN}),
    State.FAILED_CLEAN: frozenset(),
    # A crash between "abandoned" and the rename back leaves the folder claimed: the next start adopts it again.
    State.ABANDONED: frozenset({State.CLAIMING, State.FAIL_PENDING}),
}

#: Jobs that a start must bring forward.
LIVE: frozenset[State] = frozenset(State) - {State.DONE_CLEAN, State.FAILED_CLEAN, State.ABANDONED}

#: Jobs whose outcome is published.
PUBLISHED: frozenset[State] = frozenset({State.DONE, State.DONE_CLEAN, State.FAILED, State.FAILED_CLEAN})


class IllegalMove(RuntimeError):
    """A state change that the table does not know: a defect in this program, never an operator's mistake."""


def check_move(old: State, new: State) -> None:
    """Raise ``IllegalMove`` unless a job may go from ``old`` to ``new``."""
    if new not in MOVES[old]:
        raise IllegalMove(f"a job cannot go from {old} to {new}")
