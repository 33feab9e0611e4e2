"""Which walls stand, and what is said of one that does not. What stands is tried in tests/faults."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.settings import load
from meshdrop.daemon.doctor.checks import workers as check_workers
from meshdrop.daemon.doctor.checks.workers import workers
from meshdrop.daemon.doctor.start_checks import refuse_open_workers
from meshdrop.models.contract.registry import places_of
from meshdrop.models.walls import system_calls
from meshdrop.models.walls.confinement import LAYERS, NotConfined, Walls
from meshdrop.models.worker import classify

#: Takes seccomp away, as an older kernel or another processor would: nothing else of the walls is touched.
WITHOUT_FILTERS = """
import json, platform
platform.machine = lambda: "riscv64"
from pathlib import Path
from meshdrop.models.walls.confinement import FileView, NotConfined, confine
try:
    walls = confine(FileView(), strictly={strictly})
except NotConfined as error:
    print(json.dumps(str(error)))
else:
    print(json.dumps(walls.to_json()))
"""


def ask(strictly: bool) -> object:
    """What a process without filters of system calls comes to."""
    code = WITHOUT_FILTERS.format(strictly=strictly)
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_layer_that_is_missing_is_told() -> None:
    told = ask(strictly=False)
    assert isinstance(told, dict)
    assert {*told["stand"], *told["missing"]} == {*LAYERS}
    assert "calls" in told["missing"]
    assert "riscv64" in told["missing"]["calls"]
    assert told["stand"]["rights"] == "none"


def test_whoever_asks_for_all_layers_gets_all_or_an_error() -> None:
    said = ask(strictly=True)
    assert isinstance(said, str)
    assert "nothing keeps a worker from" in said


def test_a_second_way_makes_up_for_the_first() -> None:
    def fails() -> str:
        raise OSError(1, "no namespaces")

    walls = Walls()
    walls.put_up("network", fails)
    assert walls.missing == {"network": "no namespaces"}
    walls.put_up("network", lambda: "no connections")
    assert (walls.stand, walls.missing) == ({"network": "no connections"}, {})
    walls.put_up("network", fails)
    assert (walls.stand, walls.missing) == ({"network": "no connections"}, {})


@pytest.mark.parametrize("wanted", ["best", "strict", "off"])
def test_the_doctor_and_the_start_judge_by_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    settings = load(tmp_path / "root", worker_confinement=wanted, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(check_workers, "_asked", lambda: ({"rights": "none"}, {"files": "no Landlock"}))
    found = workers(settings)
    assert found.result == {"best": "warn", "strict": "fail", "off": "warn"}[wanted]
    if wanted == "strict":
        with pytest.raises(ConfigurationError, match="no Landlock"):
            refuse_open_workers(settings)
    else:
        refuse_open_workers(settings)


def test_every_call_has_a_number_of_its_own() -> None:
    """A number that stands twice is a slip of the pen; those above 424 are the same on both processors."""
    pairs = [
        *system_calls._REFUSED.values(),
        *system_calls._FEIGNED.values(),
        *system_calls._TALK.values(),
        *((x86, arm) for _, x86, arm in system_calls._ITSELF_ONLY.values()),
        system_calls._CLONE,
        system_calls._CLONE3,
        system_calls._PRCTL,
        system_calls._SOCKET,
        system_calls._SOCKETPAIR,
        system_calls._SENDTO,
    ]
    for column in (0, 1):
        numbers = [pair[column] for pair in pairs if pair[column] is not None]
        assert len(numbers) == len(set(numbers))
    assert all(x86 == arm for x86, arm in pairs if max(x86 or 0, arm or 0) >= 424)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are the numbers of x86-64")
def test_the_numbers_are_the_kernels_own() -> None:
    headers = list(Path("/usr/include").glob("**/asm/unistd_64.h"))
    if not headers:
        pytest.skip("the kernel's headers are not installed here")
    words = (line.split() for line in headers[0].read_text().splitlines() if line.startswith("#define __NR_"))
    known = {name.removeprefix("__NR_"): int(number) for _, name, number in words}
    named = {
        **{name: pair[0] for name, pair in system_calls._REFUSED.items()},
        **{name: pair[0] for name, pair in system_calls._FEIGNED.items()},
        **{name: pair[0] for name, pair in system_calls._TALK.items()},
        **{name: row[1] for name, row in system_calls._ITSELF_ONLY.items()},
    }
    assert {name: number for name, number in named.items() if name in known and known[name] != number} == {}


def test_a_worker_that_may_not_work_says_so() -> None:

    kind, message, fix = classify(NotConfined("nothing keeps a worker from opening connections here: no seccomp"))
    assert (kind, "connections" in message, "worker_confinement" in fix) == ("unavailable", True, True)


def test_the_code_of_a_model_is_seen_wherever_it_is_installed(tmp_path: Path) -> None:
    assert places_of(str(tmp_path / "mine.py")) == [tmp_path / "mine.py"]
    assert places_of("json.decoder") == [Path(json.__file__).parent]
    assert places_of("textwrap") == [Path(textwrap.__file__)]
    assert places_of("no_such_package.module") == []
