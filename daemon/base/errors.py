"""Exceptions that cross rooms, those for the command line with their exit codes, and what the machine alone is to blame
for."""

from __future__ import annotations

import errno


class ExitCode:
    """Exit codes of the command, as sysexits.h has them where it has one."""

    OK = 0
    PROBLEM = 1
    USAGE = 2
    #: EX_TEMPFAIL: the same command may succeed later.
    TRY_AGAIN = 75
    CONFIGURATION = 78


#: What a disk, a server or a machine says that is full, failing or away for a while: never a capture's fault.
PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.EREMOTEIO,
        errno.ENODEV,
        errno.ENOMEDIUM,
        errno.ENOMEM,
        errno.EMFILE,
        errno.ENFILE,
    }
)


class MeshdropError(Exception):
    """An error for a person at the command line: one sentence, and what to do next."""

    exit_code = ExitCode.PROBLEM

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


class ConfigurationError(MeshdropError):
    """Settings, folders or the database do not fit this version."""

    exit_code = ExitCode.CONFIGURATION


class ShareMissing(ConfigurationError):
    """There is no share where one should be: it was never set up, or it is not mounted yet."""


class AnotherInstance(MeshdropError):
    """Somebody else already runs on these folders."""

    exit_code = ExitCode.TRY_AGAIN


class LeftBehind(MeshdropError):
    """``run --once`` came to an end, and some jobs did not: each waits for somebody to mend what holds it up."""

    exit_code = ExitCode.TRY_AGAIN


class NoService(MeshdropError):
    """No running service answers here."""


class ShareUnavailable(Exception):
    """The share is not there, not ours or not readable: nothing may be concluded from what is (not) seen."""


class JobTrouble(Exception):
    """A step of one job failed, and the machine is sound: others go on, and this one gets out of the way in the end.

    ``stays`` when it cannot: every way out was tried, and somebody has to mend what the sentence names.
    """

    def __init__(self, sentence: str, *, stays: bool = False) -> None:
        super().__init__(sentence)
        self.stays = stays


class Stopping(Exception):
    """The daemon was asked to stop in the middle of a step; the step is taken up again at the next start."""
