"""The table of channels: what every one of them promises, whatever it tells and whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from meshdrop.daemon.base.settings import Settings
from meshdrop.daemon.notify.channel import Channel, LifeSignChannel, MessageChannel
from meshdrop.daemon.notify.channels import CHANNELS, SETTINGS, kind_of
from meshdrop.daemon.notify.targets import read_targets
from tests.unit.test_docs import PROJECT, quoted, section, table

SECRET = "t0ken"
PAGE = (PROJECT / "docs/monitoring.md").read_text(encoding="utf-8")


def given(kind: type[Channel], root: Path) -> tuple[Channel, ...]:
    """The receivers of settings that name this kind alone, with an address that is a secret."""
    several = isinstance(Settings.model_fields[kind.setting].default, tuple)
    url = f"https://host.example:8443/{SECRET}"
    values: dict[str, Any] = {kind.setting: (SecretStr(url),) if several else SecretStr(url)}
    return read_targets(Settings(root=root, **values)).channels


@pytest.fixture(params=CHANNELS, ids=lambda kind: kind.kind)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Channel]:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())  # as if every package were installed
    found: type[Channel] = request.param
    return found


def test_one_setting_gives_receivers_of_one_kind_and_none_gives_nobody(kind: type[Channel], tmp_path: Path) -> None:
    [channel] = given(kind, tmp_path)
    assert type(channel) is kind
    assert isinstance(channel, MessageChannel | LifeSignChannel)
    assert kind_of(channel.name) == kind.kind
    assert read_targets(Settings(root=tmp_path)).channels == ()


def test_no_text_of_a_channel_shows_its_address(kind: type[Channel], tmp_path: Path) -> None:
    [channel] = given(kind, tmp_path)
    shown = (repr(channel), channel.name, channel.called, kind.counted(1))
    assert not [text for text in shown if SECRET in text or "host.example" in text]
    assert channel.host in (None, ("host.example", 8443))


def test_every_secret_of_a_channel_can_stand_in_a_file_and_is_explained(kind: type[Channel]) -> None:
    documented = {name for row in table(section(PAGE, "Settings and secrets")) for name in quoted(row[0]) or [row[0]]}
    for name in (kind.setting, *kind.secrets):
        assert SecretStr.__name__ in str(Settings.model_fields[name].annotation)
        assert "Path" in str(Settings.model_fields[f"{name}_file"].annotation)
        assert name in documented


def test_every_secret_among_the_settings_belongs_to_a_channel() -> None:
    secret = {name for name, field in Settings.model_fields.items() if SecretStr.__name__ in str(field.annotation)}
    assert secret == {name for name in SETTINGS if not name.endswith("_file")}


def test_what_stands_in_the_record_of_a_channel_that_is_no_more_has_no_kind() -> None:
    assert len({kind.kind for kind in CHANNELS}) == len(CHANNELS)
    assert [kind_of(name) for name in ("webhook", "notify.0a1b2c3d", "pigeon.7", "")] == [
        "webhook",
        "notify",
        None,
        None,
    ]
