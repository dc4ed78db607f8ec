"""
VideoMAE: reuse and the baselines that drop tokens, on clips, at the same multiply-adds.

Reuse and RLT choose by a threshold, one for all clips, found so that the mean of the multiply-adds meets the ratio: a
clip with little motion leaves more to the others. The other baselines keep as many tokens of every clip. Fewer frames
keeps whole tubelets, so its ratio is not free: the nearest that is at least as cheap stands in the table with its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import VideoMAEForVideoClassification

import hf_ttr
from hf_ttr.execution.flops import window_report
from hf_ttr.models.videomae.modeling_temporal_reuse_videomae import VideoMAEParts
from hf_ttr.planning.window_planner import WindowPlanner

from .common import first_frames, kl_divergence, real_data
from .fidelity import fights
from .measures import Clip
from .methods.clip_dropping import tubelet_changes
from .methods.clip_model import ClipModel
from .runner import Cell, Part
from .table import Block, Table


RATIOS = (2.8, 5.6, 9.3)
OURS: dict[str, dict[str, Any]] = {
    "reuse (default: spread)": {},
    "reuse, interpolated": {"representative": "interpolate"},
    "reuse, middle of the run": {"representative": "middle"},
    "reuse, start of the run": {"representative": "start"},
    "reuse, middle, no drift, no context": {"representative": "middle", "drift_weight": 0.0, "context_weight": 0.0},
    "reuse, spread, drift 0.03": {"drift_weight": 0.03},
}
SAME_BUDGET = "reuse (default), the same budget for every clip"
SETS = ("fight_surv/test", "fight_surv/train", "videos")
BASELINES = ("RLT: changed tokens, plain pool", "random drop", "uniform tube drop", "fewer frames")


class Arena:
    """
    A model, dense and with reuse, on a set of clips.

    Args:
        model: the dense model.
        clips: what to run it on.
    """

    def __init__(self, model: VideoMAEForVideoClassification, clips: Sequence[Clip]) -> None:
        self.model: Any = model
        self.clips = clips
        self.reuse: Any = hf_ttr.with_temporal_reuse(model)
        base: Any = self.reuse.videomae
        self.grid: tuple[int, int] = base.config.grid
        self.times = model.config.num_frames // model.config.tubelet_size
        self.positions = self.grid[0] * self.grid[1]
        self.cost = VideoMAEParts().cost(model.videomae, self.positions)
        self.slots = self.times * self.positions
        self.dense_cost = self.cost.rows(self.slots, self.slots, self.slots)
        self.patches = [base._embed(clip.pixels[None], None, 0) for clip in clips]
        self.expected = torch.cat([model(clip.pixels[None]).logits for clip in clips])

    def rows_within(self, ratio: float) -> int:
        """The largest number of rows that costs `ratio` times less than all of them."""
        linear, pair = self.cost.key_value + self.cost.row, self.cost.pair
        budget = self.dense_cost / ratio / self.cost.layers
        return int((math.sqrt(linear**2 + 4 * pair * budget) - linear) / (2 * pair))

    def planned(self, settings: dict[str, Any], threshold: float) -> list[int]:
        """Multiply-adds in the encoder of each clip with the given settings of reuse."""
        planner = WindowPlanner(hf_ttr.TemporalReuseConfig(**settings, threshold=threshold), self.grid)
        costs = []
        for patches in self.patches:
            plan = planner.plan(patches, None)
            report: Any = window_report(self.cost, plan, [0])
            costs.append(int(report.multiply_adds.item()) - plan.planning_multiply_adds)
        return costs

    def with_reuse(self, settings: dict[str, Any], ratio: float) -> tuple[torch.Tensor, float, float]:
        """Logits at the threshold that meets the ratio over all clips, the ratio met, and the threshold."""
        threshold = meeting(lambda value: self.planned(settings, value), self.dense_cost / ratio)
        self.reuse.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**settings, threshold=threshold)
        logits = torch.cat([self.reuse(clip.pixels[None], use_cache=False).logits for clip in self.clips])
        costs = self.planned(settings, threshold)
        return logits, self.dense_cost * len(costs) / sum(costs), threshold

    def with_budget(self, ratio: float) -> tuple[torch.Tensor, float, float]:
        """The same with as many tokens of every clip."""
        share = self.rows_within(ratio) / self.slots
        self.reuse.config.temporal_reuse = hf_ttr.TemporalReuseConfig(compute_budget=share)
        outputs = [self.reuse(clip.pixels[None], use_cache=False) for clip in self.clips]
        rows = [int(output.reuse.computed_tokens.item()) for output in outputs]
        spent = sum(self.cost.rows(count, count, count) for count in rows)
        return torch.cat([output.logits for output in outputs]), self.dense_cost * len(rows) / spent, 0.0

    def baseline(self, name: str, ratio: float) -> tuple[torch.Tensor, float, float]:
        """Logits of a baseline, the ratio met, and its threshold (0 where it has none)."""
        rows, threshold = self.rows_within(ratio), 0.0
        kept: list[torch.Tensor] = []
        if name.startswith("RLT"):
            patch_size = ClipModel(self.model).patch_size
            changes = [tubelet_changes(clip.pixels, patch_size) for clip in self.clips]

            def costs(value: float) -> list[int]:
                counts = [int((change > value).sum()) for change in changes]
                return [self.cost.rows(count, count, count) for count in counts]

            threshold = meeting(costs, self.dense_cost / ratio)
            kept = [(change > threshold).flatten().nonzero().squeeze(-1) for change in changes]
        else:
            generator = torch.Generator().manual_seed(0)
            kept = [self.dropped(name, rows, generator) for _ in self.clips]
        spent = sum(self.cost.rows(len(part), len(part), len(part)) for part in kept)
        logits = torch.cat([self.on_rows(patches, part) for patches, part in zip(self.patches, kept)])
        return logits, self.dense_cost * len(kept) / spent, threshold

    def dropped(self, name: str, rows: int, generator: torch.Generator) -> torch.Tensor:
        """The tokens that a baseline keeps which does not look at the clip."""
        if name == "random drop":
            return torch.randperm(self.slots, generator=generator)[:rows].sort().values
        mask = torch.zeros(self.times, self.positions, dtype=torch.bool)
        if name == "uniform tube drop":
            mask[:, torch.randperm(self.positions, generator=generator)[: max(rows // self.times, 1)]] = True
        else:
            count = max(rows // self.positions, 1)
            mask[((torch.arange(count) + 0.5) * self.times / count).long()] = True
        return mask.flatten().nonzero().squeeze(-1)

    def on_rows(self, patches: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Logits of the dense model on some of the tokens, plain mean pool."""
        tokens = patches.flatten(1, 2) + self.model.videomae.embeddings.position_embeddings
        states = self.model.videomae.encoder(tokens[:, rows]).last_hidden_state
        logits: torch.Tensor = self.model.classifier(self.model.fc_norm(states.mean(1)))
        return logits

    def row(self, method: str, setting: float, found: tuple[torch.Tensor, float, float]) -> dict[str, Any]:
        """A row of results."""
        logits, ratio, threshold = found
        divergence = kl_divergence(self.expected, logits)
        result = {
            "method": method,
            "setting": setting,
            "ratio": ratio,
            "threshold": threshold,
            "kl": divergence.mean().item(),
            "median_kl": divergence.median().item(),
            "worst": self.clips[int(divergence.argmax())].name,
            "worst_kl": divergence.max().item(),
            "agreement": (self.expected.argmax(-1) == logits.argmax(-1)).double().mean().item(),
        }
        if self.clips[0].label is not None:
            labels = torch.tensor([clip.label for clip in self.clips])
            hits = logits.argmax(-1) == labels
            result["accuracy"] = hits.double().mean().item()
            result["accuracy_per_class"] = [
                hits[labels == label].double().mean().item() for label in range(logits.shape[1])
            ]
        return result

    def cell(self, method: str, ratio: float) -> dict[str, Any]:
        """One method at one ratio: reuse with some settings, with a budget, a baseline, or `"dense"`."""
        if method == "dense":
            return self.row(method, 1.0, (self.expected, 1.0, 0.0))
        if method in OURS:
            return self.row(method, ratio, self.with_reuse(OURS[method], ratio))
        return self.row(
            method, ratio, self.with_budget(ratio) if method == SAME_BUDGET else self.baseline(method, ratio)
        )


def jobs(ratios: Sequence[float]) -> list[tuple[str, float]]:
    """Every method at every ratio; the dense model first."""
    return [("dense", 1.0), *((name, ratio) for ratio in ratios for name in (*OURS, SAME_BUDGET, *BASELINES))]


def meeting(costs: Callable[[float], list[int]], target: float) -> float:
    """The lowest threshold at which the mean of the costs is at most `target`."""
    low, high = -8.0, 4.0
    for _ in range(12):
        middle = (low + high) / 2
        found = costs(math.exp(middle))
        low, high = (low, middle) if sum(found) <= target * len(found) else (middle, high)
    return math.exp(high)


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every set of clips, method and ratio on `videomae-tiny-tin200`; `quick`: few clips and one ratio."""
    real_data()

    @lru_cache(maxsize=1)
    @torch.no_grad()
    def arena(name: str) -> Arena:
        folder = real_data()
        directory = folder / "models" / "videomae-tiny-tin200"
        model = VideoMAEForVideoClassification.from_pretrained(directory, dtype=torch.float32).eval()
        processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory)
        if name == "videos":
            return Arena(model, list(_windows(folder, processor)))
        split = name.split("/")[1]
        number = 1 if quick else {"test": None, "train": 12}[split]
        return Arena(model, list(fights(folder, split, processor, number)))

    def measure(name: str, method: str, ratio: float) -> dict[str, Any]:
        with torch.no_grad():
            found = arena(name)
            return {**found.cell(method, ratio), "clips": len(found.clips)}

    return [
        Cell(f"{name} | {method} | {ratio:g}", partial(measure, name, method, ratio), {"quick": quick})
        for name in (SETS[:1] if quick else SETS)
        for method, ratio in jobs(RATIOS[:1] if quick else RATIOS)
    ]


def _windows(folder: Path, processor: Any) -> Iterable[Clip]:
    """The first window of each video."""
    for path in sorted((folder / "videos").rglob("*.*")):
        yield Clip(f"{path.relative_to(folder / 'videos')} 0", first_frames(processor, path, 16)[0])


def table(result: dict[str, Any]) -> Block:
    """The tables of a result."""
    lines: Block = []
    for name in dict.fromkeys(row["key"][0] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["key"][0] == name]
        lines.append(f"{name}, {rows[0]['clips']} clips: mean KL to the dense model (top-1 agreement).")
        lines.append(by_ratio(rows, lambda row: f"{row['kl']:.4f} ({row['agreement']:.2f})"))
    return lines


def by_ratio(
    rows: list[dict[str, Any]],
    cell: Callable[[dict[str, Any]], str],
    saved: str = "multiply-adds saved in the encoder",
) -> Table:
    """A table with a line for each method and a column for each ratio; a ratio that is not met stands beside."""
    ratios = sorted({row["setting"] for row in rows if row["method"] != "dense"})
    methods = list(dict.fromkeys(row["method"] for row in rows if row["method"] != "dense"))

    def text(method: str, ratio: float) -> str:
        row = next(row for row in rows if row["method"] == method and row["setting"] == ratio)
        beside = f" at {row['ratio']:.1f}x" if abs(row["ratio"] / ratio - 1) > 0.02 else ""
        return cell(row) + beside

    return Table(
        (saved, *(f"{ratio:g}x" for ratio in ratios)),
        ((method, *(text(method, ratio) for ratio in ratios)) for method in methods),
    )


PART = Part("fidelity", "clips", cells, lambda quick: {"model": "videomae-tiny-tin200"})
