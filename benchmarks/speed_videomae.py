"""Wall-clock of VideoMAE with reuse against the dense model, in one process. Random weights: nothing but speed."""

from __future__ import annotations

import copy
import statistics
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

import hf_ttr
from hf_ttr.planning.window_planner import WindowPlanner

from .common import markdown
from .speed import changing_clip, compare_times, seconds, use_settings


SHARES = (0.1, 0.3)
STRIDE, WINDOWS = 4, 4
ROWS = (157, 470, 784)


@torch.no_grad()
def run(rounds: int = 3, quick: bool = False) -> dict[str, Any]:
    """Runs the suite on a VideoMAE-B (`quick`: a small one, for a check that it runs)."""
    torch.manual_seed(0)
    size = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768} if quick else {}
    config = hf_ttr.TemporalReuseVideoMAEConfig(num_labels=400, **size)
    model = hf_ttr.TemporalReuseVideoMAEForVideoClassification(config).eval()
    rounds = 2 if quick else rounds
    results = [_clip(model, share, rounds) for share in SHARES]
    results.append(_batch(model, rounds))
    results += [_stream(model, share, rounds) for share in (0.0, 0.05)]
    results.append(_exact(model, rounds))
    return {
        "suite": "speed_videomae",
        "model": f"VideoMAE, hidden size {config.hidden_size}, random weights",
        "results": results,
        "attention": _attention(config.num_attention_heads),
    }


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


def _clip(model: Any, share: float, rounds: int) -> dict[str, Any]:
    """A clip of a static scene in which a share of the patches changes, at that budget."""
    clip = changing_clip(share)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def reuse() -> Any:
        use_settings(model, compute_budget=max(share, 1 / 8))
        return model(clip)

    timing = compare_times(f"clip, {share:.0%}", dense, reuse, rounds)
    result = _result(f"clip of 16 frames, budget {max(share, 1 / 8):.1%}", [reuse().reuse], timing)
    patches = model.videomae._embed(clip, None, 0)
    planner = WindowPlanner(model.config.temporal_reuse, (14, 14))
    result["planner_seconds"] = statistics.median(seconds(lambda: planner.plan(patches, None)) for _ in range(10))
    result["planner_share_of_dense"] = result["planner_seconds"] / result["dense_seconds"]
    return result


def _batch(model: Any, rounds: int) -> dict[str, Any]:
    """Two clips with different numbers of rows in one call: nothing is padded."""
    clips = torch.cat([changing_clip(0.05), changing_clip(0.6, seed=1)])

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clips)

    def reuse() -> Any:
        use_settings(model, threshold=0.6)
        return model(clips)

    timing = compare_times("batch of two", dense, reuse, rounds)
    report = reuse().reuse
    shares = " and ".join(f"{share:.0%}" for share in report.computed_share.tolist())
    return _result(f"batch of two clips, {shares} computed", [report], timing)


def _stream(model: Any, share: float, rounds: int) -> dict[str, Any]:
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

    def reuse() -> None:
        use_settings(model)
        cache = copy.deepcopy(first)
        reports.clear()
        for window in windows[1:]:
            output = model(window, past_key_values=cache, stride=STRIDE)
            cache = output.past_key_values
            reports.append(output.reuse)

    timing = compare_times(f"stream, {share:.0%}", dense, reuse, max(rounds - 1, 1))
    name = f"windows at stride {STRIDE}, " + (
        f"{share:.0%} of the patches change per frame" if share else "static scene"
    )
    return _result(name, reports, timing)


def _exact(model: Any, rounds: int) -> dict[str, Any]:
    """Threshold 0: what the plan costs where everything is computed."""
    clip = changing_clip(1.0)

    def dense() -> Any:
        use_settings(model, mode="off")
        return model(clip)

    def exact() -> Any:
        use_settings(model, threshold=0)
        return model(clip)

    return _result("threshold 0: everything computed", [exact().reuse], compare_times("exact", dense, exact, rounds))


def _attention(heads: int, head_dim: int = 64, clips: int = 4) -> list[dict[str, Any]]:
    """Milliseconds of one layer's attention of `clips` clips with counted keys, by ways of doing it."""
    results = []
    for rows in ROWS:
        counts = [rows // 2 + rows * clip // clips for clip in range(clips)]
        parts = [tuple(torch.randn(1, count, heads, head_dim).transpose(1, 2) for _ in range(3)) for count in counts]
        masks = [torch.rand(1, 1, 1, count) for count in counts]
        longest = max(counts)
        padded = [torch.cat([pad(part[i], (0, 0, 0, longest - part[i].shape[2])) for part in parts]) for i in range(3)]
        padded_mask = torch.cat([pad(mask, (0, longest - mask.shape[3]), value=-torch.inf) for mask in masks])
        packed = [torch.cat([part[i] for part in parts], 2) for i in range(3)]
        owner = torch.arange(clips).repeat_interleave(torch.tensor(counts))
        block = torch.where(owner[:, None] == owner, torch.cat(masks, 3)[0, 0], -torch.inf)[None, None]

        def one_by_one(parts: Any = parts, masks: Any = masks) -> None:
            for (query, key, value), mask in zip(parts, masks):
                scaled_dot_product_attention(query, key, value, attn_mask=mask.expand(-1, -1, query.shape[2], -1))

        def widened(parts: Any = parts, masks: Any = masks) -> None:
            for (query, key, value), mask in zip(parts, masks):
                ones = torch.full_like(query[..., :1], head_dim**0.5)
                bias = mask.transpose(2, 3).expand(-1, heads, -1, -1)
                wide = [pad(torch.cat(pair, -1), (0, 7)) for pair in ((query, ones), (key, bias))]
                scaled_dot_product_attention(*wide, pad(value, (0, 8)), scale=head_dim**-0.5)

        ways = {
            "clip by clip, mask of logits": one_by_one,
            "clip by clip, log-count as a dimension of the keys": widened,
            "one padded batch with a mask": lambda p=padded, m=padded_mask: scaled_dot_product_attention(
                *p,
                attn_mask=m.expand(-1, -1, longest, -1),  # noqa: B023
            ),
            "one packed sequence with a block mask": lambda p=packed, m=block: scaled_dot_product_attention(
                *p, attn_mask=m
            ),
        }
        for name, way in ways.items():
            way()
            results.append(
                {
                    "rows": sum(counts),
                    "way": name,
                    "milliseconds": 1e3 * statistics.median(seconds(way) for _ in range(7)),
                }
            )
    return results


def table(result: dict[str, Any]) -> list[str]:
    """Markdown tables of a result."""
    from .report import speed_rows

    rows = result["attention"]
    sizes = sorted({row["rows"] for row in rows})
    ways = list(dict.fromkeys(row["way"] for row in rows))

    def cell(way: str, size: int) -> str:
        return f"{next(row['milliseconds'] for row in rows if (row['way'], row['rows']) == (way, size)):.1f} ms"

    return [
        *speed_rows(result),
        "Attention of four clips of different lengths in one layer, keys counted:",
        "",
        *markdown(
            ("way", *(f"{size} rows in all" for size in sizes)),
            ((way, *(cell(way, s) for s in sizes)) for way in ways),
        ),
    ]
