"""Fixtures for every room."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from meshdrop.daemon.workers.process import Home, run_to_end
from meshdrop.daemon.workers.warming import Warming
from tests.rig import Rig, write_ball
from tests.torch_needed import NO_TORCH, asks_at_its_top, is_installed

# A shell that starts the tests in the background has them ignore Ctrl-C, and every command that they start inherits
# that: none of them would end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No example is judged by the time that it takes, and every run draws the same ones: what fails here fails everywhere.
hypothesis.settings.register_profile(
    "everywhere", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("everywhere")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests of a file that holds torch, and skip what is marked where there is none."""
    if asks_at_its_top(getattr(item, "module", None)):
        item.add_marker("torch")
    if item.get_closest_marker("torch") and not is_installed():
        item.add_marker(pytest.mark.skip(reason=NO_TORCH))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What was asked for by a marker and was skipped to the last test is no success."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")  # None in the processes that xdist starts
    asked = session.config.option.markexpr
    if reporter is None or not asked or session.config.option.collectonly or exitstatus != pytest.ExitCode.OK:
        return
    if not reporter.stats.get("passed"):
        reporter.write_line(f"-m {asked!r}: every test was skipped, none was run", red=True)
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED


@pytest.fixture(scope="session", autouse=True)
def no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Services of the tests that are told of no cache keep theirs here, and not among the files of whoever tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("user-cache"))


@pytest.fixture(scope="session")
def kernel_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of compiled kernels for the whole run; compiling them again for each test would take minutes."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    cache = shared / "cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    with open(shared / "cache.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warming = Warming(Home(shared, cache))
        if warming.is_due():
            worker = warming.start(f"tests-{os.getpid()}")
            assert worker is not None
            ended = run_to_end(worker, lambda: False)
            assert ended.answer is not None, ended.reason
            warming.conclude(ended)
    return cache


@pytest.fixture(scope="session")
def ball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good capture of a ball."""
    return write_ball(tmp_path_factory.mktemp("captures") / "ball")


@pytest.fixture
def rig(tmp_path: Path, kernel_cache: Path) -> Iterator[Callable[..., Rig]]:
    """Makes roots: ``rig()``, ``rig(MESHDROP_MODELS='["slow"]')``. Daemons that a failed test left are ended."""
    yield from _rigs(tmp_path, "root", kernel_cache, light=False)


@pytest.fixture
def light_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """The same with stand-ins for the worker processes (``tests.light``)."""
    yield from _rigs(tmp_path, "light", tmp_path / "light-cache", light=True)


def _rigs(folder: Path, name: str, cache: Path, *, light: bool) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**settings: str) -> Rig:
        made.append(Rig(folder / f"{name}{len(made)}", cache, settings, light=light))
        return made[-1]

    yield make
    for one in made:
        one.end()
