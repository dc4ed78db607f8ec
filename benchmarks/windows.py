"""VideoMAE on the sliding windows of a stream: multiply-adds and KL against the dense model on the same window."""

from __future__ import annotations

from statistics import mean
from typing import Any

import torch
from rich.progress import track
from transformers import VideoMAEForVideoClassification

import hf_ttr

from .common import ROOT, kl_divergence, markdown, real_data


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


@torch.no_grad()
def run(quick: bool = False) -> dict[str, Any]:
    """Runs the suite; `quick` takes a few windows of one video."""
    folder = real_data()
    directory = folder / "models" / "videomae-tiny-tin200"
    dense = VideoMAEForVideoClassification.from_pretrained(directory, dtype=torch.float32).eval()
    model: Any = hf_ttr.with_temporal_reuse(dense)
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, frame_sampling_rate=1)
    windows, strides = (6, (4,)) if quick else (WINDOWS, STRIDES)
    rows = []
    for video in VIDEOS[:1] if quick else VIDEOS:
        limit = windows * max(strides) + 16
        frames = processor(folder / "videos" / video, num_frames=None, return_tensors="pt").pixel_values[0, :limit]
        expected: dict[int, torch.Tensor] = {}
        for stride in strides:
            for name, settings in SETTINGS.items() if stride == 4 else [("default", {})]:
                model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**settings)
                rows.append(_stream(dense, model, frames, expected, windows, stride, f"{video}, {name}"))
                rows[-1] |= {"video": video, "settings": name}
    return {"suite": "windows", "model": directory.name, "windows": windows, "rows": rows}


def _stream(
    dense: Any,
    model: Any,
    frames: torch.Tensor,
    expected: dict[int, torch.Tensor],
    windows: int,
    stride: int,
    description: str,
) -> dict[str, Any]:
    divergence, ratios, cache = [], [], None
    for number in track(range(windows), description=f"stride {stride}, {description}"):
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


def table(result: dict[str, Any]) -> list[str]:
    """Markdown tables of a result."""
    quarter = max(result["windows"] // 4, 1)
    lines = [
        f"{result['windows']} windows of 16 frames; the video is played forwards and backwards, so no cut is added. "
        "Multiply-adds of all windows but the first, everything counted; mean KL to the dense model on the same "
        "window.",
        "",
    ]
    lines += markdown(
        (
            "video, settings",
            "stride",
            "multiply-adds",
            *(f"KL, windows {1 + quarter * n}-{quarter * (n + 1)}" for n in range(4)),
            "cache",
        ),
        (
            (
                f"{row['video']}, {row['settings']}",
                str(row["stride"]),
                f"{row['ratio_after_first']:.1f}x fewer",
                *(f"{mean(row['kl'][quarter * n : quarter * (n + 1)] or [0]):.4f}" for n in range(4)),
                f"{row['memory_mib']:.0f} MiB",
            )
            for row in result["rows"]
        ),
    )
    return [*lines, "![KL of every window](images/windows.png)", ""]


def plot(result: dict[str, Any]) -> None:
    """Draws the divergence of every window, and its running mean, into docs/images/windows.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    videos = list(dict.fromkeys(row["video"] for row in result["rows"]))
    figure, axes = pyplot.subplots(len(videos), 1, figsize=(8, 2.6 * len(videos)), sharex=True, squeeze=False)
    for axis, video in zip(axes[:, 0], videos):
        for row in result["rows"]:
            if row["video"] == video and row["settings"] == "default":
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
    figure.savefig(ROOT / "docs" / "images" / "windows.png", dpi=110)
    pyplot.close(figure)
