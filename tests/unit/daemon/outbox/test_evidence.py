"""Where a job must be, given an old row and what stands on disk: every pair, and what must hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from meshdrop.daemon.outbox.evidence import Evidence, right_state
from meshdrop.db.states import LIVE, State

#: One letter for each state in the tables below; `-` is no row.
ROWS = {
    "-": None,
    "c": State.CLAIMING,
    "q": State.QUEUED,
    "r": State.RUNNING,
    "p": State.FAIL_PENDING,
    "D": State.DELIVERING,
    "O": State.DONE,
    "o": State.DONE_CLEAN,
    "F": State.FAILING,
    "X": State.FAILED,
    "x": State.FAILED_CLEAN,
    "a": State.ABANDONED,
}
LETTERS = {state: letter for letter, state in ROWS.items()}
GOOD, BAD = State.DONE, State.FAILED
CLAIMED = Evidence(claimed=True)
COPIED = Evidence(claimed=True, copied=True)
MARKED = Evidence(claimed=True, copied=True, marker=GOOD)
REFUSED = Evidence(claimed=True, copied=True, marker=BAD)

#: What stands on disk, in the order in which a job leaves it, and what becomes of each row.
TABLE: dict[str, tuple[Evidence, str]] = {
    #                                                                          rows:  - c q r p D O o F X x a
    "nothing": (Evidence(), "- c a a a o o o x x x a"),
    "put back into the inbox, our copy is left": (Evidence(copied=True), "- c q r p o O o x X x a"),
    "claimed": (CLAIMED, "c c c c p D O o F X x c"),
    "copied": (COPIED, "c c q r p D O o F X x c"),
    "being staged": (replace(COPIED, staged=True), "c c q r p D O o F X x c"),
    "staged, good": (replace(MARKED, staged=True), "D D D D D D O o D X x D"),
    "staged, bad": (replace(REFUSED, staged=True), "F F F F F F O o F X x F"),
    "published, good": (replace(MARKED, published=GOOD), "D D D D D D O o D D x D"),
    "published, bad": (replace(REFUSED, published=BAD), "F F F F F F F o F X x F"),
    "published and taken away": (MARKED, "D D D D D D O o D X x D"),
    "published in failed/ and taken away": (REFUSED, "F F F F F F O o F X x F"),
    "put away": (Evidence(kept=True, copied=True, marker=GOOD, published=GOOD), "o o o o o o O o o o x o"),
    "put away, bad": (Evidence(kept=True, copied=True, marker=BAD, published=BAD), "x x x x x x x o x X x x"),
    "put away, the marker went first": (Evidence(kept=True, copied=True), "- c a a a o O o x X x a"),
    "cleaned": (Evidence(kept=True, published=GOOD), "o o o o o o o o o o x o"),
    "cleaned, bad": (Evidence(kept=True, published=BAD), "x x x x x x x o x x x x"),
    "cleaned and taken away": (Evidence(kept=True), "- c a a a o o o x x x a"),
    # the state folder is lost, so that nothing but the receipt tells
    "published, work lost": (Evidence(claimed=True, published=GOOD), "D D D D D D O o D D x D"),
    "published, work lost, bad": (Evidence(claimed=True, published=BAD), "F F F F F F F o F X x F"),
    # contradictions, which no order of our steps leaves: never published a second time
    "published and staged": (replace(MARKED, staged=True, published=GOOD), "O O O O O O O o O O x O"),
    "staged without its original": (Evidence(staged=True, marker=GOOD), "D D D D D D O o D X x D"),
}


@pytest.mark.parametrize("case", TABLE)
def test_every_row_of_an_old_record_ends_where_the_folders_say(case: str) -> None:
    evidence, expected = TABLE[case]
    found = {letter: LETTERS[right_state(row, evidence)] for letter, row in ROWS.items()}
    assert " ".join(found.values()) == expected


def every_trace() -> list[Evidence]:
    outcomes = (None, GOOD, BAD)
    return [
        Evidence(claimed, staged, copied, kept, marker, published)
        for claimed, staged, copied, kept in product((False, True), repeat=4)
        for marker, published in product(outcomes, outcomes)
    ]


#: Work that ends in a new publication.
TO_BE_PUBLISHED = {State.CLAIMING, State.QUEUED, State.RUNNING, State.FAIL_PENDING}


@pytest.mark.parametrize("row", ROWS.values(), ids=str)
def test_no_pair_whatever_loses_an_original_or_publishes_twice(row: State | None) -> None:
    """All 144 sets of evidence, also those that nothing we do could leave behind."""
    for evidence in every_trace():
        state = right_state(row, evidence)
        at_rest = row in (State.DONE_CLEAN, State.FAILED_CLEAN)
        if evidence.claimed and not at_rest:
            assert state in LIVE, evidence
        if evidence.published or (evidence.marker and not evidence.staged):
            assert state not in TO_BE_PUBLISHED, evidence
        if evidence.published:
            assert state not in (State.DELIVERING, State.FAILING) or not evidence.staged, evidence
        if at_rest:
            assert state is row
        assert right_state(state, evidence) is state, evidence
