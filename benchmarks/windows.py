"""VideoMAE on the sliding windows of a stream: multiply-adds and KL against the dense model on the same window."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from transformers import VideoMAEForVideoClassification

import hf_ttr

from .common import kl_divergence, real_data
from .runner import Cell, Part
from .table import Block, Table


VIDEOS = ("bottle-detection.mp4", "vehicle_survaillance.mp4")
STRIDES = (2, 4, 8, 16)
WINDOWS = 200
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "max_age 8": {"max_age": 8},
    "no max_age": {"max_age": None},
    "threshold 0.2": {"threshold": 0.2},
    "window_weight 0": {"window_weight": 0.0},
}


def cells(quick: bool) -> Iterable[Cell]:
    """A cell for every video, stride and settings; `quick` takes a few windows of one video."""
    real_data()
    windows = 4 if quick else WINDOWS

    @lru_cache(maxsize=1)
    def models() -> tuple[Any, Any, Any]:
        directory = real_data() / "models" / "videomae-tiny-tin200"
        dense = VideoMAEForVideoClassification.from_pretrained(directory, dtype=torch.float32).eval()
        processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, frame_sampling_rate=1)
        return dense, hf_ttr.with_temporal_reuse(dense), processor

    @lru_cache(maxsize=1)
    def frames(video: str) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        """The frames, and a place for what the dense model says of the windows."""
        pixels = models()[2](real_data() / "videos" / video, num_frames=None, return_tensors="pt").pixel_values[0]
        return pixels[: windows * max(STRIDES) + 16].clone(), {}

    def measure(video: str, stride: int, name: str) -> dict[str, Any]:
        dense, model, _ = models()
        model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**SETTINGS[name])
        return {"video": video, "name": name, **_stream(dense, model, *frames(video), windows, stride)}

    return [
        Cell(f"{video} | stride {stride} | {name}", partial(measure, video, stride, name), {"windows": windows})
        for video in (VIDEOS[:1] if quick else VIDEOS)
        for stride in ((4,) if quick else STRIDES)
        for name in (SETTINGS if stride == 4 and not quick else ("default",))
    ]


@torch.no_grad()
def _stream(
    dense: Any,
    model: Any,
    frames: torch.Tensor,
    expected: dict[int, torch.Tensor],
    windows: int,
    stride: int,
) -> dict[str, Any]:
    divergence, ratios = [], []
    cache: Any = None
    for number in range(windows):
        window = frames[there_and_back(len(frames), number * stride, 16)][None]
        first = number * stride % (2 * len(frames) - 2)
        if first not in expected:
            expected[first] = dense(window).logits[0]
        output = model(window, past_key_values=cache, stride=stride)
        cache = output.past_key_values
        divergence.append(kl_divergence(expected[first], output.logits[0]).item())
        ratios.append((output.reuse.dense_multiply_adds / output.reuse.multiply_adds).item())
    return {
        "stride": stride,
        "kl": divergence,
        "multiply_add_ratios": ratios,
        "ratio_after_first": (len(ratios) - 1) / sum(1 / ratio for ratio in ratios[1:]),
        "memory_mib": cache.memory_bytes / 2**20,
    }


def there_and_back(total: int, start: int, count: int) -> torch.Tensor:
    """Indices of `count` successive frames of a video that is played forwards and backwards without end."""
    period = 2 * total - 2
    index = (start + torch.arange(count)) % period
    return torch.where(index < total, index, period - index)


def table(result: dict[str, Any]) -> Block:
    """The table of a result."""
    count = len(result["rows"][0]["kl"])
    quarter = max(count // 4, 1)
    return [
        f"{count} windows of 16 frames; the video is played forwards and backwards, so no cut is added. "
        "Multiply-adds of all windows but the first, everything counted; mean KL to the dense model on the same "
        "window.",
        Table(
            (
                "video, settings",
                "stride",
                "multiply-adds",
                *(f"KL, windows {1 + quarter * n}-{quarter * (n + 1)}" for n in range(4)),
                "cache",
            ),
            (
                (
                    f"{row['video']}, {row['name']}",
                    str(row["stride"]),
                    f"{row['ratio_after_first']:.1f}x fewer",
                    *(f"{mean(row['kl'][quarter * n : quarter * (n + 1)] or [0]):.4f}" for n in range(4)),
                    f"{row['memory_mib']:.0f} MiB",
                )
                for row in result["rows"]
            ),
        ),
        "![KL of every window](images/windows.png)",
    ]


def plot(result: dict[str, Any], path: Path) -> None:
    """Draws the running mean of the divergence of the windows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    videos = list(dict.fromkeys(row["video"] for row in result["rows"]))
    figure, axes = pyplot.subplots(len(videos), 1, figsize=(8, 2.6 * len(videos)), sharex=True, squeeze=False)
    for axis, video in zip(axes[:, 0], videos):
        for row in result["rows"]:
            if row["video"] == video and row["name"] == "default":
                values = torch.tensor(row["kl"])
                smooth = torch.nn.functional.avg_pool1d(values[None], 9, 1, 4, count_include_pad=False)[0]
                label = f"stride {row['stride']}, {row['ratio_after_first']:.0f}x fewer multiply-adds"
                axis.plot(range(1, len(smooth) + 1), smooth, label=label)
        axis.set_title(video, loc="left", fontsize=10)
        axis.set_ylabel("KL to dense (mean of 9)")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8, frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("window")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


PART = Part("fidelity", "windows", cells, lambda quick: {"model": "videomae-tiny-tin200"})
