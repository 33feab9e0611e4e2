"""What a mesh's figures are worth: one verdict, by limits that stand here and nowhere else."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["normal", "warning", "failure"]

#: (verdict, least PSNR in dB, least SSIM), both on the object mask, best first. Below the last it is a failure.
GRADES: tuple[tuple[Verdict, float, float], ...] = (("normal", 25.0, 0.85), ("warning", 20.0, 0.75))


def grade(psnr_db: float | None, ssim: float | None) -> Verdict:
    """The verdict on one model from its masked figures; no figures are a failure."""
    if psnr_db is None or ssim is None:
        return "failure"
    for verdict, least_psnr, least_ssim in GRADES:
        if psnr_db >= least_psnr and ssim >= least_ssim:
            return verdict
    return "failure"


def least(verdict: Verdict) -> str:
    """What a mesh of this verdict has on the object, in words: ``25 dB and SSIM 0.85 or more``."""
    for name, psnr, ssim in GRADES:
        if name == verdict:
            return f"{psnr:.0f} dB and SSIM {ssim:.2f} or more"
    raise ValueError(f"{verdict!r} has no least figures")
