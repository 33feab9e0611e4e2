"""`config show --origin` and `config validate`: every value, where it comes from, and never a secret."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.origins import lines_of, origins, unknown_variables
from meshdrop.daemon.base.settings import Settings, config_file, load
from meshdrop.daemon.base.share import create_root
from meshdrop.daemon.cli.main import app
from meshdrop.daemon.notify.targets import read_targets

TOML = '''\
# settle_s = 1.0
settle_s = 2.0
models = [
    "fusion",   # settle_network_s = 3.0
    "mine",
]
webhook_url = "https://hook.example/t0ken"
ready_marker = "a = [b]"

[custom_models]
mine = """\\
/opt/mine.py:\\
Mine"""
settle = "x:Y"

[model_settings.fusion]
resolution = 300
[model_settings]
mine = {texture_size = 512, "odd key" = 1}
'''


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("MESHDROP_")]:
        monkeypatch.delenv(name)
    create_root(load(tmp_path).places)
    config_file(tmp_path).write_text(TOML, encoding="utf-8")
    return tmp_path


def told(root: Path) -> dict[str, tuple[str, str]]:
    return {one.name: (one.value, one.origin) for one in origins(root)}


@pytest.mark.parametrize("name", ["MODELS", "EXTRA_FORMATS", "NOTIFY_URLS", "MODEL_SETTINGS", "CUSTOM_MODELS"])
def test_a_list_or_table_in_the_environment_that_is_no_json_is_told_with_an_example(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"MESHDROP_{name}", "slack://t0ken")
    with pytest.raises(ConfigurationError) as refused:
        origins(root)
    text = f"{refused.value}\n{refused.value.fix}"
    assert f"MESHDROP_{name}: a list or table is written as JSON" in text
    assert "t0ken" not in text
    [example] = re.findall(rf"MESHDROP_{name}='(.*)'", text)
    assert json.loads(example)


def test_addresses_that_are_no_list_are_not_told(root: Path) -> None:
    config_file(root).write_text('notify_urls = "slack://t0ken"')
    with pytest.raises(ConfigurationError, match="notify_urls: a list is wanted") as refused:
        load(root)
    assert "t0ken" not in str(refused.value)


def test_lines_are_those_on_which_a_value_begins(root: Path) -> None:
    lines = {".".join(key): line for key, line in lines_of(config_file(root)).items()}
    assert lines == {
        "settle_s": 2,
        "models": 3,
        "webhook_url": 7,
        "ready_marker": 8,
        "custom_models": 10,
        "custom_models.mine": 11,
        "custom_models.settle": 14,
        "model_settings.fusion": 16,
        "model_settings.fusion.resolution": 17,
        "model_settings.mine.texture_size": 19,
        "model_settings.mine.odd key": 19,
    }


def test_every_setting_is_told_with_its_value_and_origin(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_MAX_FILE_MB", "30")
    monkeypatch.setenv("meshdrop_min_free_mb", "10")
    monkeypatch.setenv("MESHDROP_MODEL_SETTINGS", '{"fusion": {"max_faces": 7000}}')
    file, found = config_file(root), told(root)
    assert found["settle_s"] == ("2.0", f"{file}:2")
    assert found["models"] == ('["fusion", "mine"]', f"{file}:3")
    assert found["custom_models.mine"] == ('"/opt/mine.py:Mine"', f"{file}:11")
    assert found["model_settings.fusion.resolution"] == ("300", f"{file}:17")
    assert found["model_settings.fusion.max_faces"] == ("7000", "environment MESHDROP_MODEL_SETTINGS")
    assert found["model_settings.mine.texture_size"] == ("512", f"{file}:19")
    assert found["max_file_mb"] == ("30.0", "environment MESHDROP_MAX_FILE_MB")
    assert found["min_free_mb"] == ("10.0", "environment meshdrop_min_free_mb")
    assert found["max_capture_mb"] == ("200.0", "default")
    assert found["run_limit_s"] == ("none", "default")
    assert found["root"] == (json.dumps(str(root)), "--root")
    assert set(Settings.model_fields) == {name.partition(".")[0] for name in found}


def test_the_environment_wins_over_the_file_and_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_SETTLE_S", "9")
    assert told(root)["settle_s"] == ("9.0", "environment MESHDROP_SETTLE_S")


def test_secrets_are_masked_wherever_they_come_from(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_NOTIFY_URLS", '["slack://t0ken/a", "mailto://t0ken"]')
    monkeypatch.setenv("MESHDROP_WEBHOOK_SECRET", "t0ken")
    found = told(root)
    assert found["webhook_url"][0] == "********"
    assert found["notify_urls"][0] == "[********, ********]"
    for options in ((), ("--origin",), ("--json",)):
        shown = CliRunner().invoke(app, ["config", "show", "--root", str(root), *options])
        assert shown.exit_code == 0
        assert "t0ken" not in shown.output
        assert ("config.toml:2" in shown.output) is bool(options)
    assert "t0ken" not in repr(load(root)) + repr(read_targets(load(root)))


def test_a_setting_that_is_wrong_is_named_without_its_value(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_NOTIFY_URLS", '{"a": "t0ken"}')
    monkeypatch.setenv("MESHDROP_METRICS_ADDRESS", "everywhere")
    with pytest.raises(ConfigurationError) as wrong:
        load(root)
    assert "notify_urls" in str(wrong.value)
    assert "metrics_address: an IP address is wanted" in str(wrong.value)
    assert "t0ken" not in str(wrong.value)


def test_misspelt_variables_are_noticed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_SETLE_S", "9")
    monkeypatch.setenv("MESHDROP_CRASH_AT", "I4")
    monkeypatch.setenv("MESHDROP_MODEL_SETTINGS__FUSION__RESOLUTION", "64")
    assert unknown_variables() == ["MESHDROP_SETLE_S is no setting: is MESHDROP_SETTLE_S meant?"]


def validated(root: Path) -> str:
    """The problem that validating finds, or nothing."""
    try:
        CliRunner().invoke(app, ["config", "validate", "--root", str(root)], catch_exceptions=False)
    except ConfigurationError as error:
        return str(error)
    return ""


def test_validate_looks_at_everything(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert validated(root) == ""
    monkeypatch.setenv("MESHDROP_SETLE_S", "9")
    assert "MESHDROP_SETLE_S is no setting" in validated(root)
    monkeypatch.delenv("MESHDROP_SETLE_S")
    monkeypatch.setenv("MESHDROP_PING_URL_FILE", str(tmp_path / "gone"))
    assert "ping_url_file" in validated(root)
    (tmp_path / "gone").write_text("https://one.example/\nhttps://two.example/\n")
    assert "it must hold one line, and has 2" in validated(root)
    monkeypatch.delenv("MESHDROP_PING_URL_FILE")
    config_file(root).write_text("settle_s = -1\nnonsense = 2\n")
    assert "settle_s" in validated(root)
    assert "nonsense" in validated(root)


def test_validate_asks_apprise_about_each_address(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("apprise", reason="the extra [notify] is not installed")
    monkeypatch.setenv("MESHDROP_NOTIFY_URLS", '["json://host.example/", "t0ken-nonsense://"]')
    assert "apprise does not understand number 2" in validated(root)
    assert "t0ken" not in validated(root)


def test_without_apprise_the_settings_that_need_it_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHDROP_NOTIFY_URLS", '["json://host.example/"]')
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="apprise is not installed"):
        read_targets(load(root))
