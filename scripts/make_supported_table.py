"""
Fills the table of models in docs/supported.md and README.md, out of what each model did when it was tried here.

A tiny one of each kind, with random weights, goes through a clip, a stream, methods of reduction and maps. Run it
anew after a model came; tests/test_supported.py compares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

import hf_ttr.models  # noqa: F401 (registers them)
from hf_ttr.models.register import MODELS, ReuseModel, parent_of


ROOT = Path(__file__).resolve().parent.parent
PAGE, README = ROOT / "docs" / "supported.md", ROOT / "README.md"
MARKED = re.compile(r"(<!-- models: (?P<columns>[^>]*) -->\n).*?(<!-- /models -->)", re.DOTALL)
FRAMES, SIZE, PATCH = 8, 24, 4
TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_spatial_layers": 1,
    "num_temporal_layers": 1,
    "num_auxiliary_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "mlp_ratio": 2,
    "image_size": SIZE,
    "crop_size": SIZE,
    "patch_size": PATCH,
    "num_patches": (SIZE // PATCH) ** 2,
    "num_register_tokens": 2,
    "num_frames": FRAMES,
    "frames_per_clip": FRAMES,
    "tubelet_size": 2,
    "num_pooler_layers": 1,
    "pred_hidden_size": 16,
    "pred_num_hidden_layers": 1,
    "pred_num_attention_heads": 2,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16,
    "vocab_size": 32,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "num_labels": 3,
    "initializer_range": 0.2,
}
# The clip is noise, in which a wide neighbourhood finds a change everywhere.
NEAR = {"context_weight": 0.1, "context_size": 3, "threshold": 0.3}
METHODS: dict[str, dict[str, Any]] = {
    "ToMe": {"method": "tome", "r": 2},
    "VidToMe": {"method": "vidtome"},
    "vid-TLDR": {"method": "vid_tldr"},
    "pruning": {"method": "pruning", "keep": 0.8},
    "run-length": {"method": "run_length"},
}
COLUMNS = ("model", "type", "sees", "classes", "clips", "streams", "reduction", "pictures")


def tiny_config(config: type[PreTrainedConfig], **settings: Any) -> PreTrainedConfig:
    """A config of a small model, whatever its sizes are called."""
    values = {name: value for name, value in TINY.items() if hasattr(config, name) or name == "num_labels"}
    tubelet = getattr(config, "tubelet_size", None)
    if isinstance(tubelet, (list, tuple)):
        values["tubelet_size"] = [tubelet[0], PATCH, PATCH]
    for name, part in getattr(config, "sub_configs", {}).items():
        if name.endswith("_config"):
            inner = tiny_config(part).to_dict()
            values[name] = {key: value for key, value in inner.items() if key != "temporal_reuse"}
    return config(**values, **settings)


def clip() -> torch.Tensor:
    """`(1, frames, channels, height, width)`: noise that stands still, and a patch that changes in each frame."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(1, 1, 3, SIZE, SIZE, generator=generator).repeat(1, FRAMES, 1, 1, 1)
    for frame in range(1, FRAMES):
        frames[0, frame, :, :PATCH, PATCH * (frame % 6) : PATCH * (frame % 6 + 1)] += 3
    return frames


@torch.no_grad()
def row(entry: ReuseModel) -> dict[str, str]:
    """What a kind of model did."""
    config = entry.config
    kind: Any = entry.video_classifier or entry.base
    torch.manual_seed(0)
    model = kind(tiny_config(config, temporal_reuse=NEAR)).eval()
    video = clip()
    output = model(video, output_token_maps=True)
    share = float(output.reuse.computed_share)
    assert 0 < share < 1, kind
    again = model(video, past_key_values=output.past_key_values)
    methods = []
    for name, method in METHODS.items():
        try:
            model(video, temporal_reuse={**NEAR, "reduction": method})
        except ValueError:
            continue
        methods.append(name)
    names = {
        "features": entry.base,
        "image classifier": entry.image_classifier,
        "video classifier": entry.video_classifier,
    }
    return {
        "model": config.parent_name,
        "type": f"`{config.parent_model_type}`",
        "sees": "windows" if model.config.window_frames else "frames",
        "classes": ", ".join(name for name, found in names.items() if found is not None),
        "clips": "yes",
        "streams": "yes" if float(again.reuse.computed_share) < share else "no",
        "reduction": ", ".join(methods) or "none",
        "pictures": "no" if output.reuse.maps is None else "yes",
        "parents": ", ".join(f"`{parent_of(found).__name__}`" for found in entry.classes),
    }


def rows() -> list[dict[str, str]]:
    """Those of all models that come with the package; the two configs of one in parts are one row."""
    found: dict[str, dict[str, str]] = {}
    for entry in MODELS.values():
        if not entry.config.__module__.startswith("hf_ttr."):
            continue
        new = row(entry)
        known = found.setdefault(new["model"], new)
        if known is not new:
            for name in ("type", "classes"):
                parts = dict.fromkeys([*known[name].split(", "), *new[name].split(", ")])
                known[name] = ", ".join(parts)
            if new["reduction"] != known["reduction"] or new["sees"] != known["sees"]:
                raise SystemExit(f"the parts of a {new['model']} differ: {known} and {new}")
    return [found[name] for name in sorted(found, key=str.lower)]


def table(columns: list[str], found: list[dict[str, str]]) -> str:
    """The table in Markdown."""
    lines = [columns, ["---"] * len(columns), *([one[name] for name in columns] for one in found)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def summary(found: list[dict[str, str]]) -> str:
    """Their names, by what they see."""
    seen = {"frames": "look at frames one by one", "windows": "see a window of frames at once"}
    names = [", ".join(one["model"] for one in found if one["sees"] == what) for what in seen]
    return f"| {' | '.join(seen.values())} |\n| --- | --- |\n| {' | '.join(names)} |\n"


def filled(text: str, found: list[dict[str, str]]) -> str:
    """A page with its tables of models as they are now; that of no columns is the summary."""

    def one(match: re.Match[str]) -> str:
        columns = match["columns"].split(", ")
        return f"{match[1]}\n{summary(found) if columns == ['names'] else table(columns, found)}\n{match[3]}"

    return MARKED.sub(one, text)


if __name__ == "__main__":
    tried = rows()
    for page in (PAGE, README):
        page.write_text(filled(page.read_text(), tried))
