"""Which folder is where: the share that people see, and the private folders that nobody else may touch."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from meshdrop.models.files.problem import printable
from meshdrop.models.formats.sidecar import RIG_NAME

SENTINEL = ".meshdrop-id"
_WINDOWS_DEVICES = re.compile(r"(?i)^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$")
_NAME_MAX = 255
#: Room for `__` + eight characters of the job id, for `_2` to `_9999` where that is taken too, and for `.done`.
_SUFFIX_ROOM = 20
#: How a status page's name ends whose folder could not give its own: `~` and ten digits of its bytes' SHA-256.
_MARK = re.compile(r"~[0-9a-f]{10}$")


@dataclass(frozen=True)
class Places:
    """Absolute paths of every folder the daemon uses; see docs/architecture.md for the drawing."""

    root: Path
    spool: Path
    state: Path
    #: Compiled kernels, shared by all worker processes; losing it costs time only.
    cache: Path
    #: One folder of weights for each model that has some; made and filled by `meshdrop weights fetch`.
    weights: Path

    @property
    def inbox(self) -> Path:
        """Where people drop capture folders."""
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        """Where finished results appear."""
        return self.root / "outbox"

    @property
    def failed(self) -> Path:
        """Where refused and failed captures appear, each with its WHY.txt."""
        return self.root / "failed"

    @property
    def status(self) -> Path:
        """Status pages for people at the share."""
        return self.root / "status"

    @property
    def sentinel(self) -> Path:
        """The file that proves that the share is mounted and ours."""
        return self.root / SENTINEL

    @property
    def hidden(self) -> Path:
        """What stands beside the public folders and is no business of theirs: settings, rigs, spool."""
        return self.root / ".meshdrop"

    @property
    def rigs(self) -> Path:
        """Stored rig profiles: the operator's, like the settings beside them."""
        return self.hidden / "rigs"

    @property
    def claimed(self) -> Path:
        """Folders taken out of the inbox, by job id."""
        return self.spool / "claimed"

    @property
    def staging(self) -> Path:
        """Results and failure bundles on their way out, by job id."""
        return self.spool / "staging"

    @property
    def kept(self) -> Path:
        """Originals of finished jobs, until their retention ends."""
        return self.spool / "kept"

    @property
    def database(self) -> Path:
        """The record."""
        return self.state / "meshdrop.db"

    @property
    def backups(self) -> Path:
        """Database backups."""
        return self.state / "backup"

    @property
    def lock(self) -> Path:
        """Held for life by the one daemon of this state folder."""
        return self.state / "lock"

    @property
    def control(self) -> Path:
        """Unix socket for commands to the running daemon."""
        return self.state / "control.sock"

    @property
    def pause(self) -> Path:
        """There while nothing new may be begun; holds the time since when."""
        return self.state / "paused"

    @property
    def live_status(self) -> Path:
        """What the daemon is doing, as JSON, rewritten every second or two."""
        return self.state / "status.json"

    @property
    def overview(self) -> Path:
        """The page for people: everything that the service does and waits for."""
        return self.status / "STATUS.txt"

    def page(self, name: bytes) -> Path:
        """The page that tells of one capture folder, for programs."""
        return self.status / page_name(name)

    def work(self, job_id: str) -> Path:
        """Private working folder of a job."""
        return self.state / "work" / job_id

    def capture(self, job_id: str) -> Path:
        """The job's own checked copy of the capture."""
        return self.work(job_id) / "input"

    def attempt(self, job_id: str, number: int) -> Path:
        """Private folder of one attempt."""
        return self.work(job_id) / f"a{number}"

    def public(self) -> tuple[Path, ...]:
        """The folders on the share."""
        return (self.inbox, self.outbox, self.failed, self.status)

    def private(self) -> tuple[Path, ...]:
        """The folders that only the daemon uses."""
        return (self.claimed, self.staging, self.kept, self.state / "work", self.backups, self.cache)


def shown(name: bytes) -> str:
    """A folder name made safe to print and log."""
    return printable(os.fsdecode(name))


def publishable(name: bytes) -> bytes:
    """A folder name for outbox/ or failed/ that Windows clients can open too, with room for a suffix.

    Of a folder that was dropped for a rig (``@rig1/chair``) it is the folder's own name.
    Device names get a trailing underscore, trailing dots and spaces go, characters that SMB cannot carry become
    underscores, control characters too, and long names are cut between characters.
    """
    text = os.fsdecode(name).rpartition("/")[2]
    text = "".join("_" if c in '<>:"/\\|?*' or unicodedata.category(c) in ("Cc", "Cf") else c for c in text)
    text = text.rstrip(". ") or "_"
    if text.startswith("."):
        text = "_" + text[1:]
    if _WINDOWS_DEVICES.match(text):
        stem, dot, rest = text.partition(".")
        text = f"{stem}_{dot}{rest}"  # reserved with any ending
    if text.lower().endswith(".done"):
        text += "_"  # this is how a finished result is marked
    while len(os.fsencode(text)) > _NAME_MAX - _SUFFIX_ROOM:
        text = text[:-1]
    return os.fsencode(text)


def fold(name: str) -> str:
    """The key under which names meet that Windows and macOS clients cannot tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def with_suffix(dest: bytes, short_id: str) -> bytes:
    """The second choice when ``dest`` is taken."""
    return dest + b"__" + short_id.encode("ascii")


def page_name(name: bytes) -> str:
    """The file in status/ that tells of the folder ``name``. Two folders never share one.

    A name that any client can open keeps it: ``chair`` is told of in ``chair.json``, ``@rig1/chair`` in
    ``@rig1_chair.json``. One that had to be changed, or is written in decomposed characters, gets a mark of its own
    bytes, so that it cannot meet the page of another.
    """
    text = os.fsdecode(name)
    rig, slash, own = text.partition("/")
    if slash and RIG_NAME.fullmatch(rig[1:]):  # no rig's name holds the underscore, so two pairs never meet
        return f"{rig}_{page_name(os.fsencode(own))}"
    composed = os.fsencode(unicodedata.normalize("NFC", text))
    stem = "".join("_" if unicodedata.category(char) == "Cs" else char for char in os.fsdecode(publishable(composed)))
    if stem != text or _MARK.search(stem) or text.startswith("@"):
        stem = other_page_stem(stem, name)
    return f"{stem}.json"


def other_page_stem(stem: str, name: bytes) -> str:
    """``stem`` with the mark of ``name`` behind it."""
    return f"{stem}~{hashlib.sha256(name).hexdigest()[:10]}"
