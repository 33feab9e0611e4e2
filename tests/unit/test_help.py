"""`meshdrop --help` and that of every command: complete enough to work from without another page."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from meshdrop.daemon.base.errors import ExitCode
from meshdrop.daemon.cli.help import CODES, EXAMPLES
from meshdrop.daemon.cli.main import app

ROOT: Any = typer.main.get_command(app)


def tree(group: Any, *names: str) -> Iterator[tuple[str, Any]]:
    """Every command below a group by the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from tree(command, *names, name)
        else:
            yield " ".join((*names, name)), command


def groups(group: Any) -> Iterator[Any]:
    """Every group, the whole command itself among them."""
    yield group
    for command in group.commands.values():
        if hasattr(command, "commands"):
            yield from groups(command)


COMMANDS = {name: command for name, command in tree(ROOT) if not command.hidden}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_option_and_argument_says_what_it_is(name: str) -> None:
    command = COMMANDS[name]
    assert len(command.help.split()) >= 3
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


def test_every_group_says_what_it_is_and_shows_its_help_when_nothing_is_asked() -> None:
    for group in groups(ROOT):
        assert group.help, group.name
        assert group.no_args_is_help


def test_every_command_has_an_example_and_every_example_a_command() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_one_that_the_command_takes(name: str) -> None:
    """Parsed by the command itself: its name, every option and every argument are real, and nothing is missing."""
    for example in EXAMPLES[name]:
        words = re.sub(r"^sudo (-u \w+ )?", "", example)
        assert words.startswith(f"meshdrop {name}"), example
        given = shlex.split(words.removeprefix(f"meshdrop {name}"))
        with COMMANDS[name].make_context(name, given):
            pass


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_its_exit_codes(name: str) -> None:
    end = COMMANDS[name].epilog
    for code, says in CODES.items():
        assert f"{code} {says}" in end
    assert set(CODES) == {value for key, value in vars(ExitCode).items() if key.isupper()}


def test_the_help_as_it_is_printed_has_all_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshdrop.daemon.cli", "service", "install", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin", "COLUMNS": "200", "TERM": "dumb"},
    )
    text = re.sub(r"\s+", " ", done.stdout)
    for words in (*EXAMPLES["service install"], "--dry-run", "Only show the steps.", "Exit codes: 0 done"):
        assert words in text
