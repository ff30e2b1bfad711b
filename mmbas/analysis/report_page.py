"""Writes the gate report: one self-contained HTML page, its pictures, and all numbers."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from mmbas.analysis.gate_profile import GateProfile
from mmbas.analysis.gate_report import Section
from mmbas.analysis.layer_shares import layer_shares
from mmbas.analysis.plot_style import PAGE_DPI, PNG_DPI, render_png

_TEMPLATE = "report_template.html"
_PNG_WIDTH = slice(16, 20)  # bytes of the header, ISO/IEC 15948


@dataclass(frozen=True)
class _Picture:
    light: str
    dark: str
    width: int  # pixels of the page


def write_report(
    folder: Path,
    *,
    models: Sequence[GateProfile],
    sections: Sequence[Section],
    origin: dict[str, Any],
    facts: dict[str, str],
) -> None:
    """Write ``report.html``, ``gates.json`` and one PNG per figure.

    Args:
        folder: Made where it is missing.
        models: All models of the report.
        sections: Its figures.
        origin: Command, commit, versions, hardware, for ``gates.json``.
        facts: Facts about the run for the page's header.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {section.key: _picture(section, folder) for section in sections}
    environment = Environment(
        loader=PackageLoader("mmbas", "analysis"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["macs"] = format_macs
    page = environment.get_template(_TEMPLATE).render(
        title=f"Gate report: {models[0].name}",
        facts=facts,
        overview=[overview(model) for model in models],
        sections=sections,
        pictures=pictures,
        layers=[(model.name, row) for model in models for row in layer_shares(model)[:-1]],
        several=len(models) > 1,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")
    numbers = {
        **origin,
        "models": [model_numbers(model) for model in models],
        "figures": {section.key: section.data for section in sections},
    }
    text = json.dumps(json_ready(numbers), allow_nan=False)
    (folder / "gates.json").write_text(text + "\n", encoding="utf-8")


def format_macs(macs: float) -> str:
    """MACs with a unit, ``24.8 M`` or ``3.66 G``."""
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.1f} M"


def overview(profile: GateProfile) -> dict[str, Any]:
    """One row of the table of models: costs, shares of gates and the host's metrics."""
    total = layer_shares(profile)[-1]
    macs, dense = (
        float(np.mean([getattr(image, key) for image in profile.images]))
        for key in ("macs", "dense_macs")
    )
    return {
        "name": profile.name,
        "metrics": {
            key: float(value)
            for key, value in profile.metrics.items()
            if not key.startswith(("macs/", "gates/"))
        },
        "num_images": profile.counts.num_images,
        "num_gates": total.num_gates,
        "macs": macs,
        "dense_macs": dense,
        "macs_fraction": macs / dense,
        "open_rate": total.open_rate,
        "always_on": total.always_on,
        "conditional": total.conditional,
        "always_off": total.always_off,
    }


def model_numbers(profile: GateProfile) -> dict[str, Any]:
    """Everything that was counted, for ``gates.json``; counts are exact."""
    counts = profile.counts
    images = profile.images
    return {
        **overview(profile),
        "classes": profile.classes,
        "layers": layer_shares(profile),
        "gates": {
            layer: {
                "open_rate": profile.open_rates[gates],
                "mean_prob": profile.mean_probs[gates],
                "prob_histogram": counts.histogram[gates].numpy(),
                "open_images_by_class": counts.class_open[:, gates].numpy(),
            }
            for layer, gates in profile.slices.items()
        },
        "images_by_class": counts.class_images.numpy(),
        "images": {
            "macs": [image.macs for image in images],
            "dense_macs": [image.dense_macs for image in images],
            "open_fraction": [image.open_fraction for image in images],
            "correct": [image.outcome.correct for image in images],
            "loss": [image.outcome.loss for image in images],
            "classes": [image.outcome.classes for image in images],
        },
    }


def json_ready(value: Any) -> Any:
    """Dataclasses, arrays and numbers as what JSON has; NaN becomes null.

    Whole numbers, as MACs are, stay exact; others keep 9 digits, all that a float32 has.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return json_ready(asdict(value))
    if isinstance(value, dict):
        return {str(key): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return json_ready(value.tolist())
    if isinstance(value, (list, tuple)):
        return [json_ready(entry) for entry in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if value.is_integer() else float(f"{value:.9g}")
    return value


def _picture(section: Section, folder: Path) -> _Picture | None:
    if section.draw is None:
        return None
    light, dark = (render_png(section.draw, dark=dark) for dark in (False, True))
    (folder / f"{section.key}.png").write_bytes(light)
    width = int.from_bytes(light[_PNG_WIDTH], "big") * PAGE_DPI // PNG_DPI
    return _Picture(_inline(light), _inline(dark), width)


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
