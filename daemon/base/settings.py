"""Settings: a TOML file and the environment become one frozen value, checked whole and read once."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from meshdrop.daemon.base.errors import ConfigurationError
from meshdrop.daemon.base.places import SENTINEL, Places
from meshdrop.daemon.base.users import as_owner_of
from meshdrop.models.contract.registry import known, wrong_settings
from meshdrop.models.files.limits import CaptureLimits
from meshdrop.models.files.names import may_name_a_model
from meshdrop.models.files.problem import printable
from meshdrop.models.mesh.output_formats import ON_REQUEST

#: How those variables look that are not one value.
_JSON = {
    "MESHDROP_MODELS": '["fusion"]',
    "MESHDROP_EXTRA_FORMATS": '["usdz"]',
    "MESHDROP_NOTIFY_URLS": '["ntfy://topic"]',
    "MESHDROP_MODEL_SETTINGS": '{"fusion": {"resolution": 384}}',
    "MESHDROP_CUSTOM_MODELS": '{"mine": "/m.py:Mine"}',
}
Seconds = Annotated[float, Field(ge=0)]
Most = Annotated[float, Field(gt=0)] | None


def _the_same_place_from_anywhere(value: Path) -> Path:
    if not value.is_absolute():
        raise ValueError(f"a path from / is wanted; {value} would be another place in each folder")
    return value


def _one_of_them(value: str) -> str:
    if value not in ON_REQUEST:
        raise ValueError(f"Input should be {' or '.join(map(repr, ON_REQUEST))}")
    return value


ExtraFormat = Annotated[str, AfterValidator(_one_of_them)]
Place = Annotated[Path, AfterValidator(_the_same_place_from_anywhere)]


class Settings(BaseSettings):
    """Everything that can be set. Flags win over ``MESHDROP_*`` variables, which win over the file."""

    model_config = SettingsConfigDict(
        env_prefix="MESHDROP_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    root: Path
    spool_dir: Place | None = None
    state_dir: Place | None = None
    #: Compiled kernels, which are programs: a folder of the service's own, never one that the share can reach. Several
    #: roots of one user may share it.
    cache_dir: Place | None = None
    #: Weights of the models that have some; several roots may share one. A local disk, since each job reads gigabytes.
    weights_dir: Place | None = None

    #: Your own models: name = "package.module:Class" or "/path/to/file.py:Class" of a ReconstructionModel.
    custom_models: dict[str, str] = {}
    models: tuple[str, ...] = ("fusion",)
    #: Options for each model, for example ``[model_settings.fusion] resolution = 384``.
    model_settings: dict[str, dict[str, Any]] = {}

    settle_s: Seconds = 5.0
    settle_network_s: Seconds = 10.0
    #: How long a folder with six photographs and no trace of depth is given before it is taken without depth.
    no_depth_wait_s: Seconds = 30.0
    incomplete_after_s: Seconds = 1800.0
    #: A rig that puts a file of this name into a capture folder, last, has finished: no settle window is waited for.
    ready_marker: Annotated[str, Field(pattern=r"^[^/]+$")] = ".ready"

    max_file_mb: Annotated[float, Field(gt=0, le=4096)] = 20.0
    max_capture_mb: Annotated[float, Field(gt=0, le=65536)] = 200.0
    #: What six pictures of which nothing says more are taken for; None asks their sender.
    default_rig: Literal["canonical"] | None = None
    #: Of a longer sequence so many views are used, evenly spread; ``max_views`` in capture.json wins.
    max_views: Annotated[int, Field(ge=3, le=1000)] = 200
    #: Of what lies beside the set so much goes into the result; the rest is named there and stays in the original.
    max_extra_mb: Annotated[float, Field(ge=0, le=65536)] = 200.0
    #: No new capture is taken with less than this free, or less than three times the capture.
    min_free_mb: Annotated[float, Field(ge=0)] = 2048.0

    #: Longest time one model run may take; None learns it from this machine's history (10 to 60 minutes).
    run_limit_s: Annotated[float, Field(gt=0)] | None = None
    stall_limit_s: Annotated[float, Field(gt=0)] = 300.0
    check_limit_s: Annotated[float, Field(gt=0)] = 120.0
    stop_grace_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    #: The most memory that one worker may hold; None: three quarters of what the machine or its container has.
    worker_memory_mb: Annotated[float, Field(ge=256)] | None = None
    #: How far workers are shut in: ``best`` is as far as this kernel can, ``strict`` refuses to start where a layer of
    #: models/walls/confinement.py is missing, ``off`` leaves them what the service's user may do.
    worker_confinement: Literal["best", "strict", "off"] = "best"

    #: Formats beside those that are always delivered (models/mesh/output_formats.py).
    extra_formats: tuple[ExtraFormat, ...] = ()
    #: Put the capture beside its results in outbox/.
    deliver_capture: bool = True
    #: How long originals are kept in the private spool after publishing; 0 deletes them at once.
    retain_days: Annotated[float, Field(ge=0)] = 7.0
    #: Finished folders that are older, and the oldest ones beyond so many megabytes, are deleted; None keeps all.
    outbox_days: Most = None
    outbox_mb: Most = None
    failed_days: Most = None
    failed_mb: Most = None
    retain_mb: Most = None

    #: Prometheus metrics are served at this port; None serves none.
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    metrics_address: str = "127.0.0.1"
    #: Addresses and the key may be given in a file instead, as secrets often are; see daemon/notify/addresses.py.
    webhook_url: SecretStr | None = None
    webhook_url_file: Place | None = None
    webhook_secret: SecretStr | None = None
    webhook_secret_file: Place | None = None
    notify_urls: tuple[SecretStr, ...] = ()
    notify_urls_file: Place | None = None
    #: When the daily digest is sent, by this machine's clock; "" sends none.
    digest_at: Annotated[str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d)?$")] = "07:00"
    ping_url: SecretStr | None = None
    ping_url_file: Place | None = None
    ping_every_s: Annotated[float, Field(ge=10)] = 300.0

    @field_validator("models")
    @classmethod
    def _some_model(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError('name at least one model, for example models = ["fusion"]')
        if len(set(value)) != len(value):
            raise ValueError("each model may stand in the list once")
        return value

    @field_validator("metrics_address")
    @classmethod
    def _an_address_of_this_machine(cls, value: str) -> str:
        try:
            return str(ip_address(value))
        except ValueError:
            raise ValueError("an IP address is wanted, for example 127.0.0.1 (this machine alone)") from None

    @field_validator("spool_dir", "state_dir")
    @classmethod
    def _where_it_really_lies(cls, value: Path | None) -> Path | None:
        """The operator may go through links of his own; from here on none is followed (``models.files.walk``)."""
        return None if value is None else Path(os.path.realpath(value))

    @field_validator("custom_models")
    @classmethod
    def _results_have_a_folder(cls, value: dict[str, str]) -> dict[str, str]:
        if wrong := [name for name in value if not may_name_a_model(name)]:
            raise ValueError(f"no model can be called {printable(wrong[0])!r}: its results lie in a folder of its name")
        return value

    @field_validator("models", "model_settings")
    @classmethod
    def _models_are_known(cls, value: Iterable[str], info: ValidationInfo) -> Iterable[str]:
        there = known(info.data.get("custom_models", {}))
        if unknown := sorted(set(value) - there):
            raise ValueError(f"unknown model {', '.join(unknown)}; there are: {', '.join(sorted(there))}")
        return value

    @field_validator("model_settings")
    @classmethod
    def _models_can_run_with_them(
        cls, value: dict[str, dict[str, Any]], info: ValidationInfo
    ) -> dict[str, dict[str, Any]]:
        custom = info.data.get("custom_models", {})
        wrong = [f"{name}: {told}" for name, of_it in value.items() for told in wrong_settings(name, of_it, custom)]
        if wrong:
            raise ValueError("\n    ".join(wrong))
        return value

    @property
    def places(self) -> Places:
        """The folders these settings lead to."""
        private = self.root / ".meshdrop"
        state = self.state_dir or private / "state"
        return Places(
            self.root,
            self.spool_dir or private / "spool",
            state,
            self.cache_dir or _cache_for(state, self.root),
            self.weights_dir or state / "weights",
        )

    @property
    def deletes_what_is_old(self) -> bool:
        """Whether finished folders, or originals beyond their days, have any limit."""
        limits = (self.outbox_days, self.outbox_mb, self.failed_days, self.failed_mb, self.retain_mb)
        return any(limit is not None for limit in limits)

    @property
    def limits(self) -> CaptureLimits:
        """How large a capture may be."""
        return CaptureLimits(
            max_file_bytes=int(self.max_file_mb * 1e6),
            max_capture_bytes=int(self.max_capture_mb * 1e6),
            max_extra_bytes=int(self.max_extra_mb * 1e6),
            max_views=self.max_views,
            default_rig=self.default_rig or "",
            custom_models=tuple(self.custom_models),
        )


#: What a result could not bring along is kept for so long even where originals are not.
_LEFT_OUT_DAYS = 7.0


def days_kept(settings: Settings) -> float:
    """How long an original is kept of which the result does not hold everything."""
    return settings.retain_days or _LEFT_OUT_DAYS


def _cache_for(state: Path, root: Path) -> Path:
    """Where kernels are kept when nothing is set: beside the record, or, where that lies on the share, in the user's
    own cache. Users without a home, as services often are, have a folder of theirs in /var/tmp.
    """
    if not state.is_relative_to(root):
        return state / "cache"
    named = os.environ.get("XDG_CACHE_HOME", "")
    if named.startswith("/"):
        return Path(named, "meshdrop")
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and os.access(home, os.W_OK | os.X_OK):
        return home / ".cache" / "meshdrop"
    return Path(f"/var/tmp/meshdrop-{os.getuid()}")


def config_file(root: Path) -> Path:
    """Where the settings of a root stand."""
    return root / ".meshdrop" / "config.toml"


def find_root(given: Path | None) -> Path:
    """The root to work on: the flag, MESHDROP_ROOT, or the folder (or its parents) that ``meshdrop init`` made."""
    if given is not None:
        return Path(os.path.realpath(given))
    if from_environment := os.environ.get("MESHDROP_ROOT"):
        return Path(os.path.realpath(from_environment))
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / SENTINEL).is_file():
            return folder
    raise ConfigurationError(
        f"no Meshdrop folder here: {here} and its parents have no {SENTINEL}",
        "name one with --root DIR or MESHDROP_ROOT, or make one with `meshdrop init DIR`",
    )


def load(root: Path | None = None, config: Path | None = None, **flags: Any) -> Settings:
    """Read, merge and check all settings; raises ``ConfigurationError`` with every problem at once."""
    found = find_root(root)
    file = config or config_file(found)
    values: dict[str, Any] = {}
    try:
        values = tomllib.loads(text_of(file))
    except FileNotFoundError as error:
        if config is not None:
            raise ConfigurationError(f"there is no settings file {file}", "check what --config names") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{file} is not valid TOML: {error}", "correct that line") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigurationError(
            f"{file} is not UTF-8 text (line {line})", "save it with the encoding UTF-8 in the editor"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets by the thousand
        raise ConfigurationError(f"{file} cannot be understood: {error}", "write down what is meant") from error
    except IsADirectoryError as error:
        raise ConfigurationError(f"{file} is a folder, not a settings file", "move it away, or name another") from error
    except NotADirectoryError as error:
        raise ConfigurationError(f"{file}: a file stands where a folder should", "name the root's folder") from error
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read ({error.strerror})",
            f"run this as the user that the service runs as: {as_owner_of(file)}",
        ) from error
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return _with_file(values)(**{**given, "root": found})
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc'])) or 'settings'}: {_said(item)}" for item in error.errors()]
        raise ConfigurationError(
            "the settings have problems:\n" + "\n".join(lines), f"correct them in {file} or in the environment"
        ) from error
    except SettingsError as error:  # a list or a table in the environment; what it held may be a secret
        variable = f"MESHDROP_{str(error).split(chr(34))[1].upper()}"
        raise ConfigurationError(
            f"the settings have problems:\n  {variable}: a list or table is written as JSON in the environment",
            f"write it so, for example {variable}='{_JSON.get(variable, '{}')}', or set it in {file}",
        ) from None


def text_of(file: Path) -> str:
    """A settings file as text, without the mark that some editors put at its head."""
    return file.read_text(encoding="utf-8-sig")


def _said(problem: ErrorDetails) -> str:
    """One problem of the settings in words that do not ask the reader to know Python."""
    kind, name = problem["type"], str(problem["loc"][0]) if problem["loc"] else ""
    if kind == "extra_forbidden":
        near = get_close_matches(name, Settings.model_fields, 1)
        return "there is no such setting" + (f"; is {near[0]} meant?" if near else "")
    if kind == "tuple_type" and SecretStr.__name__ in str(Settings.model_fields[name].annotation):
        return "a list is wanted"  # and what it was given is not repeated
    if kind == "tuple_type":
        return f"a list is wanted, for example [{problem['input']!r}]".replace("'", '"')
    return problem["msg"].removeprefix("Value error, ")


def _with_file(values: dict[str, Any]) -> type[Settings]:
    """Settings whose last source, after flags and environment, is what the file said."""

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values))

    return FromFile
