"""Why a job ends in failed/, and what a person does next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """One row: ``says`` is the sentence on WHY.txt's first line, ``fix`` what to do next."""

    says: str
    fix: str


#: Why a job ends in failed/. Problems of single files carry their own sentence and fix beside this.
FAILURES: dict[str, Failure] = {
    "capture": Failure(
        "The capture has a problem that no waiting can cure.",
        "Mend what is named above, then move this folder back into the inbox.",
    ),
    "incomplete": Failure(
        "The capture never became complete.",
        "Add the files named above (or copy the capture again), then move this folder back into the inbox.",
    ),
    "changed": Failure(
        "The files kept changing while they were being read.",
        "Wait until the rig has finished writing, then move this folder back into the inbox.",
    ),
    "unreadable": Failure(
        "Reading this capture failed three times.",
        "Run `meshdrop check` on this folder on another machine, and send the folder to whoever looks after the "
        "service.",
    ),
    "poison": Failure(
        "The service or the machine went down three times while this capture was being worked on.",
        "Look at the log in this folder. If the machine was simply switched off, move this folder back into the inbox.",
    ),
    "no_model": Failure(
        "None of the models asked for can run on this machine.",
        "Run `meshdrop doctor`; change `models` in capture.json or in the settings, then move this folder back into "
        "the inbox.",
    ),
    "models": Failure(
        "No model produced a mesh.",
        "Read each model's reason, and log.txt for more. Mend what it names, then move this folder back into the "
        "inbox.",
    ),
    "quality": Failure(
        "A mesh was made, but it does not agree with the capture.",
        "Compare the pictures in previews/ with what is said above: report.html shows each view beside the mesh. Mend "
        "what they show, then move this folder back into the inbox.",
    ),
    "cancelled": Failure(
        "The job was cancelled.", "Nothing is wrong. Move this folder back into the inbox to start it again."
    ),
    "damaged": Failure(
        "The service's working copy of the capture no longer matches what was received.",
        "The disk may be failing: run `meshdrop doctor`, then move this folder back into the inbox.",
    ),
    "unfinished": Failure(
        "Starting the models for this capture, or keeping, measuring or publishing what they made, failed three times.",
        "What could be saved is in this folder. Move it back into the inbox to try again; if it happens twice, run "
        "`meshdrop doctor` and send the folder to whoever looks after the service.",
    ),
    "results": Failure(
        "The finished files did not pass the last check before publishing.",
        "Move this folder back into the inbox to try again; if it happens twice, run `meshdrop doctor`.",
    ),
}
