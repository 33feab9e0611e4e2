"""What the doctor looks at of the GPU, for those models that compute with one. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from meshdrop.daemon.base.users import user_name
from meshdrop.daemon.doctor.checks.finding import Finding, Result
from meshdrop.daemon.host.gpus import Card, Refused, SmiQuery, visible
from meshdrop.daemon.host.machine import Machine, Torch, gpu_seen
from meshdrop.daemon.host.processes import ProcessFacts
from meshdrop.daemon.host.programs import NoAnswer
from meshdrop.models.contract.entry import ModelEntry, Needs
from meshdrop.models.contract.registry import BUILT_IN
from meshdrop.models.files.problem import printable

#: The oldest driver for each major version of CUDA: within one, newer minor versions run on it too.
_DRIVER_FOR = {11: (450, 80), 12: (525, 60), 13: (580, 65)}
#: The oldest compute capability that a major version of CUDA still compiles for.
_OLDEST = {11: (3, 5), 12: (5, 0), 13: (7, 5)}
#: (compute capability, the CUDA that first knew it), the newest first.
_NEWEST = (((10, 0), (12, 8)), ((8, 9), (11, 8)), ((8, 6), (11, 1)))
_TOLD = 4


@dataclass(frozen=True)
class Wanted:
    """What the settings ask of a GPU: the models that need CUDA, those that need torch, and whether others remain.

    ``models``: the settings of each; ``entries``: what is known of each, without which it needs nothing.
    """

    models: Mapping[str, Mapping[str, Any]]
    entries: Mapping[str, ModelEntry] = field(default_factory=lambda: BUILT_IN)

    @cached_property
    def needs(self) -> dict[str, Needs]:
        """What each model needs with its settings, by name."""
        known = ((name, self.entries.get(name, ModelEntry())) for name in sorted(self.models))
        return {name: entry.needs(self.models[name]) for name, entry in known}

    @property
    def cuda(self) -> list[str]:
        """Models that are skipped without CUDA."""
        return [name for name, needs in self.needs.items() if needs.cuda]

    @property
    def torch(self) -> list[str]:
        """Models that are skipped without torch."""
        return [name for name, needs in self.needs.items() if needs.torch]

    def loss_of(self, lost: list[str]) -> tuple[Result, str]:
        """How bad it is to lose these models, and what it means."""
        if set(self.models) - set(lost):
            return "warn", f"{', '.join(lost)} cannot run here; captures go through the other models without it"
        return "fail", f"{', '.join(lost)} cannot run here, and no other model is in the settings: no capture is served"


@dataclass
class Cards:
    """The cards that the driver tells of, asked once; ``trouble`` says why it does not."""

    machine: Machine
    service: ProcessFacts

    def __post_init__(self) -> None:
        self._question = SmiQuery(self.machine.path)
        self._told: tuple[Card, ...] | None = None

    def read(self) -> tuple[Card, ...] | None:
        """Those that CUDA shows to the service; None where nvidia-smi is not installed. Raises as ``SmiQuery`` does."""
        if self._told is None:
            self._told = self._question.cards()
        return None if self._told is None else visible(self._told, self.chosen(), self._variable("CUDA_DEVICE_ORDER"))

    def chosen(self) -> str | None:
        """CUDA_VISIBLE_DEVICES as the service has it."""
        return self._variable("CUDA_VISIBLE_DEVICES")

    def _variable(self, name: str) -> str | None:
        return (self.service.environment() or self.machine.environ).get(name)

    def known(self) -> tuple[Card, ...]:
        """Those that CUDA shows, or none: for the lines that come after the one about the driver."""
        try:
            return self.read() or ()
        except (NoAnswer, Refused):
            return ()


def gpu(machine: Machine, wanted: Wanted, cards: Cards) -> Finding:
    """Is there a GPU that the service may compute on, and does its driver answer?"""
    seen = gpu_seen(machine.proc, machine.dev)
    if not wanted.cuda:
        says = f"{len(seen.cards)} NVIDIA GPU(s), driver {seen.driver}" if seen.cards else "no NVIDIA GPU"
        return Finding("gpu", "ok", f"{says}; the models in the settings compute on the CPU")
    result, why = wanted.loss_of(wanted.cuda)
    if seen.driver is None and not seen.cards:
        return Finding(
            "gpu",
            result,
            f"no NVIDIA driver, but the settings name {', '.join(wanted.cuda)}",
            why,
            "install the NVIDIA driver (in a container: start it with `--gpus all`), or take them out of `models`",
        )
    if not seen.cards or not seen.unified_memory:
        missing = "card" if not seen.cards else "nvidia-uvm"
        return Finding(
            "gpu",
            result,
            f"driver {seen.driver or 'unknown'}, but no device node for the {missing} in {machine.dev}",
            why,
            "sudo nvidia-modprobe -u -c 0 (in a container: start it with `--gpus all`)",
        )
    locked = [str(card) for card in seen.cards if not machine.may_use(card)]
    if locked:
        return Finding(
            "gpu",
            result,
            f"{', '.join(locked)} may not be opened by {user_name()}",
            why,
            f"sudo usermod -aG video,render {user_name()}, then log in again (a service: systemctl restart meshdrop)",
        )
    return _driver_answers(cards, result, why, f"{len(seen.cards)} NVIDIA GPU(s), driver {seen.driver or 'unknown'}")


def _driver_answers(cards: Cards, result: Result, why: str, seen: str) -> Finding:
    try:
        found = cards.read()
    except NoAnswer:
        return Finding(
            "gpu",
            result,
            "the driver does not answer nvidia-smi",
            f"{why}; a run would hang until its limit",
            "sudo dmesg | grep -i xid (names the card and the fault), then restart the machine",
        )
    except Refused as error:
        says = printable(str(error))[:200]
        if "mismatch" in says:
            return Finding(
                "gpu",
                result,
                f"nvidia-smi says: {says}",
                f"{why}; the driver was updated under the running kernel",
                "sudo reboot",
            )
        cure = "sudo modprobe nvidia; if that fails, install the driver again for this kernel"
        if "lost" in says or "reboot" in says.lower():
            cure = "sudo reboot; if it is lost again, look at its power, seat and cooling: sudo dmesg | grep -i xid"
        return Finding("gpu", result, f"nvidia-smi says: {says}", why, cure)
    if found is None:
        return Finding("gpu", "ok", f"{seen}; nvidia-smi is not here, so its memory and health are not known")
    if not found:
        if (chosen := cards.chosen()) is None:
            return Finding("gpu", result, "nvidia-smi tells of no GPU", why, "sudo modprobe nvidia, or restart")
        return Finding(
            "gpu",
            result,
            f"CUDA_VISIBLE_DEVICES={chosen!r} hides every GPU",
            why,
            "unset CUDA_VISIBLE_DEVICES, or name a card that `nvidia-smi -L` lists",
        )
    if shut := [card for card in found[:1] if card.compute_mode.lower() == "prohibited"]:
        return Finding(
            "gpu",
            result,
            f"GPU {shut[0].index} is in compute mode Prohibited",
            why,
            f"sudo nvidia-smi -i {shut[0].index} -c DEFAULT",
        )
    named = ", ".join(
        card.name + (f" ({card.total_mib:,} MiB)" if card.total_mib is not None else "") for card in found
    )
    return Finding("gpu", "ok", f"{named}, driver {found[0].driver}")


def torch(machine: Machine, wanted: Wanted, cards: tuple[Card, ...]) -> Finding:
    """Is torch there, made for CUDA, and do driver and card suit it? Read from its files; nothing is imported."""
    if not wanted.torch:
        return Finding("torch", "ok", "not needed by the models in the settings")
    found = machine.torch()
    if found is None:
        result, why = wanted.loss_of(wanted.torch)
        return Finding(
            "torch",
            result,
            "torch is not installed",
            why,
            "make torch (or pip install the build of torch that fits your driver)",
        )
    if not wanted.cuda or (trouble := _unfit(found, machine, cards)) is None:
        return Finding("torch", "ok", f"torch {found.version}" + (f", CUDA {found.cuda}" if found.cuda else ""))
    result, why = wanted.loss_of(wanted.cuda)
    return Finding("torch", result, trouble[0], why, trouble[1])


def _unfit(found: Torch, machine: Machine, cards: tuple[Card, ...]) -> tuple[str, str] | None:
    """What is wrong with this torch on this machine, and the cure."""
    if found.cuda is None:
        return f"torch {found.version} computes on the CPU only", "pip install a build of torch with CUDA"
    major, _, minor = found.cuda.partition(".")
    cuda = (int(major), int(minor) if minor.isdigit() else 0)
    driver = cards[0].driver if cards else gpu_seen(machine.proc, machine.dev).driver
    least = _DRIVER_FOR.get(cuda[0])
    if driver is not None and least is not None and (there := _numbers(driver)) and there < least:
        return (
            f"torch {found.version} is made for CUDA {found.cuda}, which needs driver {least[0]}.{least[1]} or newer; "
            f"this is {driver}",
            "update the NVIDIA driver, or install a torch for an older CUDA (`nvidia-smi` names the newest that runs)",
        )
    for card in cards[:1]:  # the one that models compute on
        if card.capability is None:
            continue
        shown = f"{card.capability[0]}.{card.capability[1]}"
        if card.capability < _OLDEST.get(cuda[0], (0, 0)):
            return (
                f"{card.name} has compute capability {shown}, which CUDA {found.cuda} no longer serves",
                f"install a torch for CUDA {cuda[0] - 1}, or use another card (CUDA_VISIBLE_DEVICES)",
            )
        first = next((version for capability, version in _NEWEST if card.capability >= capability), (0, 0))
        if cuda < first:
            return (
                f"{card.name} has compute capability {shown}, and CUDA {found.cuda} does not know it yet",
                f"install a torch for CUDA {first[0]}.{first[1]} or newer",
            )
    return None


def _numbers(version: str) -> tuple[int, int] | None:
    parts = version.split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit() else None


def memory(wanted: Wanted, cards: tuple[Card, ...], service: ProcessFacts) -> Finding:
    """Is the card large enough for what the settings ask of it, and is so much of it free?"""
    needs = {name: wanted.needs[name].gpu_mib for name in wanted.cuda}
    card = cards[0] if cards else None
    total, free = (card.total_mib, card.free_mib) if card is not None else (None, None)
    if not needs or card is None or total is None or free is None:
        return Finding("gpu memory", "ok", "not known" if needs else "not needed")
    model, need = max(needs.items(), key=lambda item: item[1])
    if total < need:
        result, why = wanted.loss_of([name for name, mib in needs.items() if mib > total])
        return Finding(
            "gpu memory",
            result,
            f"{card.name} has {total:,} MiB, and {model} takes {need:,}",
            why,
            f"take {model} out of `models`, choose a smaller profile or preset in [model_settings.{model}], or use a "
            "larger card",
        )
    others = [user for user in card.users if service.pid not in ProcessFacts(service.proc, user.pid).ancestors()]
    if others and card.compute_mode.lower() == "exclusive_process":
        return Finding(
            "gpu memory",
            "warn",
            f"GPU {card.index} is in compute mode Exclusive_Process, and process {others[0].pid} has it",
            f"runs of {model} cannot begin while that one lives",
            f"sudo nvidia-smi -i {card.index} -c DEFAULT",
        )
    if free >= need or not others:
        return Finding("gpu memory", "ok", f"{free:,} of {total:,} MiB are free")
    told = ", ".join(f"{printable(user.name)} (process {user.pid}, {user.mib or 0:,} MiB)" for user in others[:_TOLD])
    return Finding(
        "gpu memory",
        "warn",
        f"{free:,} of {total:,} MiB are free, {model} takes {need:,}, and the card is used by {told}",
        f"runs of {model} end with gpu_memory, and are tried again once",
        f"end it or move it to another card: ps -fp {others[0].pid}",
    )


def health(wanted: Wanted, cards: tuple[Card, ...]) -> Finding:
    """Does the card compute without errors, and does its driver stay awake?"""
    if not wanted.cuda or not cards:
        return Finding("gpu health", "ok", "not needed" if not wanted.cuda else "not known")
    if ill := [card for card in cards[:1] if card.uncorrected_errors]:
        return Finding(
            "gpu health",
            "warn",
            f"GPU {ill[0].index} counts {ill[0].uncorrected_errors} uncorrected memory errors",
            "results may be wrong, and runs may die",
            f"sudo nvidia-smi --gpu-reset -i {ill[0].index} while nobody uses it; if it counts again, replace the card",
        )
    if asleep := [card for card in cards[:1] if card.persistent is False and not card.display]:
        return Finding(
            "gpu health",
            "warn",
            f"persistence mode of GPU {asleep[0].index} is off",
            "the driver sleeps between runs, and every run waits for it to wake: one to several seconds",
            "sudo nvidia-smi -pm 1 (for good: sudo systemctl enable --now nvidia-persistenced)",
        )
    return Finding("gpu health", "ok", "no memory errors, and the driver stays awake")
