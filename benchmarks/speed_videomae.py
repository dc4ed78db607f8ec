"""Wall-clock of VideoMAE with reuse against the dense model, in one process. Random weights: nothing but speed."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import hf_ttr
from hf_ttr.planning.window_planner import WindowPlanner

from .common import changing_clip
from .runner import Cell, Part
from .speed import optimized, speed_table, use_settings
from .table import Block, Table
from .timing import compare_times, realised, seconds


SHARES = (0.1, 0.3)
STRIDE, WINDOWS = 4, 4
ROWS = (157, 470, 784)
QUICK_SIZE = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768, "num_hidden_layers": 2}


def cells(quick: bool) -> Iterable[Cell]:
    """What is timed on a VideoMAE-B (`quick`: on a small one, to see that it runs)."""
    size: dict[str, Any] = QUICK_SIZE if quick else {}
    rounds = 1 if quick else 3

    @lru_cache(maxsize=1)
    def model() -> Any:
        torch.manual_seed(0)
        config_class: Any = hf_ttr.TemporalReuseVideoMAEConfig
        config = config_class(num_labels=400, **size)
        return hf_ttr.TemporalReuseVideoMAEForVideoClassification(config).eval()

    jobs: dict[str, Any] = {
        **{f"clip, {share:.0%}": partial(_clip, share) for share in SHARES},
        "clip, optimized": _optimized_clip,
        "batch of two": _batch,
        **{f"stream, {share:.0%}": partial(_stream, share) for share in (0.0, 0.05)},
        "threshold 0": partial(_overhead, "threshold 0: everything computed", {"threshold": 0}),
        "mode off": partial(_overhead, 'mode "off"', {"mode": "off"}),
    }

    def timed(name: str) -> dict[str, Any]:
        return jobs[name](model(), rounds)

    def attention(rows: int) -> dict[str, Any]:
        return _attention(rows, model().config.num_attention_heads)

    settings = {"hidden_size": size.get("hidden_size", 768), "rounds": rounds}
    return [
        *(Cell(name, partial(timed, name), settings) for name in jobs),
        *(Cell(f"attention | {rows} rows", partial(attention, rows), settings) for rows in ROWS),
    ]


def _result(name: str, reports: list[Any], timing: dict[str, float]) -> dict[str, Any]:
    done, total = (
        sum(int(report[key].sum()) for report in reports) for key in ("multiply_adds", "dense_multiply_adds")
    )
    result = {
        "name": name,
        "computed_share": statistics.mean(report.computed_share.mean().item() for report in reports),
        "multiply_add_ratio": total / done,
        **timing,
    }
    result["realised"] = result["wall_clock_ratio"] / result["multiply_add_ratio"]
    return result


@torch.no_grad()
def _clip(share: float, model: Any, rounds: int) -> dict[str, Any]:
    """A clip of a static scene in which a share of the patches changes, at that budget."""
    clip = changing_clip(share)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def reuse() -> Any:
        use_settings(model, compute_budget=max(share, 1 / 8))
        return model(clip)

    timing = compare_times(dense, reuse, rounds)
    result = _result(f"clip of 16 frames, budget {max(share, 1 / 8):.1%}", [reuse().reuse], timing)
    patches = model.videomae._embed(clip, None, 0)
    planner = WindowPlanner(model.config.temporal_reuse, (14, 14))
    result["planner_seconds"] = statistics.median(seconds(lambda: planner.plan(patches, None)) for _ in range(10))
    result["planner_share_of_dense"] = result["planner_seconds"] / result["dense_seconds"]
    return result


def _optimized_clip(model: Any, rounds: int) -> dict[str, Any]:
    """The clip in which least changes, with packed weights."""
    result = optimized(_clip, SHARES[0], model, rounds)
    return {**result, "name": f"{result['name']}, with hf_ttr.optimize"}


@torch.no_grad()
def _batch(model: Any, rounds: int) -> dict[str, Any]:
    """Two clips with different numbers of rows in one call: nothing is padded."""
    clips = torch.cat([changing_clip(0.05), changing_clip(0.6, seed=1)])

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clips)

    def reuse() -> Any:
        use_settings(model, threshold=0.6)
        return model(clips)

    timing = compare_times(dense, reuse, rounds)
    report = reuse().reuse
    shares = " and ".join(f"{share:.0%}" for share in report.computed_share.tolist())
    return _result(f"batch of two clips, {shares} computed", [report], timing)


@torch.no_grad()
def _stream(share: float, model: Any, rounds: int) -> dict[str, Any]:
    """Successive windows of a static scene in which a share of the patches changes with every frame."""
    frames = changing_clip(share, frames=16 + STRIDE * WINDOWS)
    windows = [frames[:, STRIDE * n : STRIDE * n + 16] for n in range(WINDOWS + 1)]
    reports: list[Any] = []
    use_settings(model)
    first = model(windows[0]).past_key_values

    def dense() -> None:
        use_settings(model, mode="off")
        for window in windows[1:]:
            model(window)

    def reuse(cache: Any) -> None:
        use_settings(model)
        reports.clear()
        for window in windows[1:]:
            output = model(window, past_key_values=cache, stride=STRIDE)
            cache = output.past_key_values
            reports.append(output.reuse)

    timing = compare_times(dense, reuse, max(rounds - 1, 1), prepare=lambda: copy.deepcopy(first))
    name = f"windows at stride {STRIDE}, " + (
        f"{share:.0%} of the patches change per frame" if share else "static scene"
    )
    return _result(name, reports, timing)


@torch.no_grad()
def _overhead(name: str, settings: dict[str, Any], model: Any, rounds: int) -> dict[str, Any]:
    """What settings under which everything is computed cost over transformers' own model, of the same shape."""
    clip = changing_clip(1.0)
    torch.manual_seed(0)
    parent = VideoMAEForVideoClassification(VideoMAEConfig(**_shape(model.config))).eval()

    def reuse() -> Any:
        use_settings(model, **settings)
        return model(clip)

    report = reuse().reuse
    timing = compare_times(lambda: parent(clip), reuse, rounds)
    if report is not None:
        return _result(name, [report], timing)
    return realised({"name": name, "computed_share": 1.0, "multiply_add_ratio": 1.0, **timing})


def _shape(config: Any) -> dict[str, Any]:
    return {
        name: getattr(config, name)
        for name in ("hidden_size", "num_attention_heads", "intermediate_size", "num_hidden_layers", "num_labels")
    }


@torch.no_grad()
def _attention(rows: int, heads: int, head_dim: int = 64, clips: int = 4) -> dict[str, Any]:
    """Milliseconds of one layer's attention of `clips` clips with counted keys, by ways of doing it."""
    counts = [rows // 2 + rows * clip // clips for clip in range(clips)]
    parts = [tuple(torch.randn(1, count, heads, head_dim).transpose(1, 2) for _ in range(3)) for count in counts]
    masks = [torch.rand(1, 1, 1, count) for count in counts]
    longest = max(counts)
    padded = [torch.cat([pad(part[i], (0, 0, 0, longest - part[i].shape[2])) for part in parts]) for i in range(3)]
    attention: Any = scaled_dot_product_attention
    padded_mask = torch.cat([pad(mask, (0, longest - mask.shape[3]), value=-torch.inf) for mask in masks])
    packed = [torch.cat([part[i] for part in parts], 2) for i in range(3)]
    owner = torch.arange(clips).repeat_interleave(torch.tensor(counts))
    block = torch.where(owner[:, None] == owner, torch.cat(masks, 3)[0, 0], -torch.inf)[None, None]

    def one_by_one() -> None:
        for (query, key, value), mask in zip(parts, masks):
            attention(query, key, value, attn_mask=mask.expand(-1, -1, query.shape[2], -1))

    def widened() -> None:
        for (query, key, value), mask in zip(parts, masks):
            ones = torch.full_like(query[..., :1], head_dim**0.5)
            bias = mask.transpose(2, 3).expand(-1, heads, -1, -1)
            wide = [pad(torch.cat(pair, -1), (0, 7)) for pair in ((query, ones), (key, bias))]
            attention(*wide, pad(value, (0, 8)), scale=head_dim**-0.5)

    ways = {
        "clip by clip, mask of logits": one_by_one,
        "clip by clip, log-count as a dimension of the keys": widened,
        "one padded batch with a mask": lambda: attention(*padded, attn_mask=padded_mask.expand(-1, -1, longest, -1)),
        "one packed sequence with a block mask": lambda: attention(*packed, attn_mask=block),
    }
    for way in ways.values():
        way()
    return {
        "rows": sum(counts),
        "milliseconds": {name: 1e3 * statistics.median(seconds(way) for _ in range(7)) for name, way in ways.items()},
    }


def table(result: dict[str, Any]) -> Block:
    """The tables of a result."""
    attention = [row for row in result["rows"] if row["key"][0] == "attention"]
    lines: Block = [speed_table([row for row in result["rows"] if row["key"][0] != "attention"])]
    if not attention:
        return lines
    return [
        *lines,
        "Attention of four clips of different lengths in one layer, keys counted:",
        Table(
            ("way", *(f"{row['rows']} rows in all" for row in attention)),
            (
                (way, *(f"{row['milliseconds'][way]:.1f} ms" for row in attention))
                for way in attention[0]["milliseconds"]
            ),
        ),
    ]


def _about(quick: bool) -> dict[str, Any]:
    return {"model": f"VideoMAE, hidden size {QUICK_SIZE['hidden_size'] if quick else 768}, random weights"}


PART = Part("speed", "speed_videomae", cells, _about)
