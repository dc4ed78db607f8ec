"""Runs the video classification pipeline of transformers on one clip, dense and with reuse, and measures both."""

from __future__ import annotations

import math
import os
import stat
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from ..checks import ContractError
from ..display import scrub, shown
from ..examples import as_named
from ..storage.ownership import TakenError, check_replaceable
from .errors import InputError, first_line
from .loading import load_pipeline, quiet
from .options import check_model_frames


if TYPE_CHECKING:
    import numpy as np
    import torch
    from transformers import VideoClassificationPipeline

    from ..answers.scores import ScoreKind
    from ..execution.flops import ReuseReport
    from ..execution.token_maps import TokenMaps
    from ..video import VideoInfo
    from ..video.sampling import FrameSamplingRate
    from .label_options import ChosenLabels


TIMED_RUNS = 3
"""Of which times are medians, where they are asked for."""


FASTEST_CAMERA = 240.0
"""Frames per second; what a file states beyond that is damaged time stamps far more often than a camera."""


@dataclass
class Measurement:
    """
    What the runs of one pipeline gave.

    Attributes:
        labels: the pipeline's answer, best label first.
        logits (`torch.Tensor` of shape `(labels,)`), frame_logits (`torch.Tensor` of shape `(frames, labels)`,
            *optional*): a model of windows has none of frames.
        reuse: the report of the model; `None` where the parent's code runs.
        pixels (`np.ndarray` of shape `(frames, height, width, 3)`, *optional*): the frames that the model saw.
        all_seconds, all_model_seconds: of every timed run, whole and in the model alone.
    """

    labels: list[dict[str, Any]] = field(default_factory=list)
    logits: torch.Tensor | None = None
    frame_logits: torch.Tensor | None = None
    reuse: ReuseReport | None = None
    pixels: np.ndarray | None = None
    all_seconds: list[float] = field(default_factory=list)
    all_model_seconds: list[float] = field(default_factory=list)

    @property
    def is_finite(self) -> bool:
        """Whether all scores, also those of frames, are numbers."""
        logits = [found for found in (self.logits, self.frame_logits) if found is not None]
        return all(found.isfinite().all() for found in logits) and all(
            math.isfinite(entry["score"]) for entry in self.labels
        )

    @property
    def seconds(self) -> float:
        """Median time of a run, decoding included."""
        return statistics.median(self.all_seconds)

    @property
    def model_seconds(self) -> float:
        """Median time of the model in a run."""
        return statistics.median(self.all_model_seconds)


@dataclass
class Agreement:
    """
    How alike the answers of the dense run and of the run with reuse are.

    Attributes:
        same_top_label: whether the clip gets the same label; of a model that gives each label a score of its own, the
            same labels above one half; `None` of one that gives numbers.
        clip_kl: Kullback-Leibler divergence from the dense distribution of the clip to that with reuse, as
            `hf_ttr.answers.scores.divergence` has it.
        frames_with_same_top_label: share of the frames that get the same label.
        mean_frame_kl: mean Kullback-Leibler divergence of the frames.
        scores: what turns logits to scores.

    Those of frames are `None` for a model that gives labels to clips alone.
    """

    same_top_label: bool | None
    clip_kl: float
    frames_with_same_top_label: float | None = None
    mean_frame_kl: float | None = None
    scores: ScoreKind = "softmax"

    @classmethod
    def of(cls, dense: Measurement, reuse: Measurement, kind: ScoreKind = "softmax") -> Agreement:
        """The agreement of two measurements of the same clip."""
        from ..answers.scores import divergence, same_answer

        assert dense.logits is not None and reuse.logits is not None
        has_labels = kind != "none"
        of_clip = cls(
            same_top_label=bool(same_answer(dense.logits, reuse.logits, kind)) if has_labels else None,
            clip_kl=divergence(dense.logits, reuse.logits, kind).item(),
            scores=kind,
        )
        if dense.frame_logits is None or reuse.frame_logits is None:
            return of_clip
        same = same_answer(dense.frame_logits, reuse.frame_logits, kind).double().mean().item()
        return replace(
            of_clip,
            frames_with_same_top_label=same if has_labels else None,
            mean_frame_kl=divergence(dense.frame_logits, reuse.frame_logits, kind).mean().item(),
        )


@dataclass
class Comparison:
    """
    A clip that went through the pipeline with reuse and, if wanted, dense.

    Attributes:
        video, model: as the user named them, without their secrets.
        settings: those of reuse.
        device: where the model ran.
        info: the facts about the video.
        frame_indices: which frames of the video the model saw.
        frame_sampling_rate: how they were chosen.
        dtype: what the model computes with.
        tubelet_size (`int`, *optional*): how many frames share the tokens of a model that sees windows; `None` for one
            that looks at frames one by one.
        prefix_tokens (`int`): tokens in front of the patches in the maps.
        runs: number of timed runs.
        is_warm: whether a run came before them that is not counted.
        scores: what turns logits to scores.
        reuse, dense: the measurements; in mode "off" there is no other than `reuse`, which is dense itself.
    """

    video: str
    model: str
    settings: dict[str, Any]
    device: str
    info: VideoInfo
    frame_indices: list[int]
    frame_sampling_rate: FrameSamplingRate
    dtype: str
    tubelet_size: int | None
    prefix_tokens: int
    runs: int
    is_warm: bool
    reuse: Measurement
    dense: Measurement | None
    scores: ScoreKind = "softmax"

    @property
    def agreement(self) -> Agreement | None:
        """Of dense and reuse, where both ran."""
        return None if self.dense is None else Agreement.of(self.dense, self.reuse, self.scores)

    @property
    def seconds_between_frames(self) -> float | None:
        """How far the frames that the model saw are apart, on average; `None` where it is not known."""
        seen = sorted(set(self.frame_indices))
        if len(seen) < 2 or not self.info.fps or self.info.fps > FASTEST_CAMERA:
            return None
        return (seen[-1] - seen[0]) / (len(seen) - 1) / self.info.fps

    @property
    def computed_share(self) -> float:
        """Share of the tokens that went through the layers."""
        report = self.reuse.reuse
        return 1.0 if report is None or report.computed_share is None else report.computed_share.item()

    @property
    def reduced_shares(self) -> dict[str, float]:
        """Shares of the tokens that were merged, and left out, before the last layer, where there are any."""
        report = self.reuse.reuse
        if report is None or report.merged_by_layer is None or report.pruned_by_layer is None:
            return {}
        assert report.total_tokens is not None
        total = report.total_tokens.item()
        counts = {"merged": report.merged_by_layer, "left out": report.pruned_by_layer}
        return {name: count[0, -1].item() / total for name, count in counts.items() if count[0, -1]}

    @property
    def multiply_adds(self) -> int | None:
        """Of the call with reuse; not counted where the parent's code runs."""
        report = self.reuse.reuse
        return None if report is None or report.multiply_adds is None else int(report.multiply_adds.item())

    @property
    def dense_multiply_adds(self) -> int | None:
        """Of the parent model on the same frames."""
        report = self.reuse.reuse
        return None if report is None or report.dense_multiply_adds is None else int(report.dense_multiply_adds.item())

    def as_dict(self, top_k: int) -> dict[str, Any]:
        """Everything as JSON takes it, with the `top_k` best labels."""
        dense, agreement = self.dense, self.agreement
        return {
            "video": self.video,
            "model": self.model,
            "settings": self.settings,
            "device": self.device,
            "dtype": self.dtype,
            "score_kind": self.scores,
            "video_frames": self.info.frames,
            "frames": len(self.frame_indices),
            "frame_sampling_rate": self.frame_sampling_rate,
            "seconds_between_frames": self.seconds_between_frames,
            "labels": [entry["label"] for entry in self.reuse.labels[:top_k]],
            "scores": [entry["score"] for entry in self.reuse.labels[:top_k]],
            "dense_labels": None if dense is None else [entry["label"] for entry in dense.labels[:top_k]],
            "dense_scores": None if dense is None else [entry["score"] for entry in dense.labels[:top_k]],
            "computed_share": self.computed_share,
            "merged_share": self.reduced_shares.get("merged", 0.0),
            "pruned_share": self.reduced_shares.get("left out", 0.0),
            "multiply_adds": self.multiply_adds,
            "dense_multiply_adds": self.dense_multiply_adds,
            "runs": self.runs,
            "seconds": self.reuse.seconds,
            "model_seconds": self.reuse.model_seconds,
            "dense_seconds": None if dense is None else dense.seconds,
            "dense_model_seconds": None if dense is None else dense.model_seconds,
            "agreement": None if agreement is None else vars(agreement),
        }

    @property
    def maps(self) -> TokenMaps:
        """What became of every token of the clip, where it was asked for."""
        report = self.reuse.reuse
        assert report is not None and report.maps is not None
        return report.maps.stream(0)

    @property
    def shown_frames(self) -> list[int]:
        """Which frames, of those that the model saw, the maps are of: of a window the first of each tubelet."""
        return list(range(0, len(self.frame_indices), self.tubelet_size or 1))

    def captions(self) -> list[str] | None:
        """The times of the shown frames in the video, if its frame rate is known."""
        if not self.info.fps or self.seconds_between_frames is None:
            return None
        times = [self.frame_indices[index] / self.info.fps for index in self.shown_frames]
        # Frames that follow each other are less than a tenth of a second apart.
        digits = 1 if len({f"{time:.1f}" for time in times}) == len(set(times)) else 2
        return [f"{time:.{digits}f} s" for time in times]

    def save_picture(self, path: str) -> None:
        """
        Writes the picture of what was computed in which frame, of a window the first of each tubelet.

        Raises:
            InputError: if the file cannot be written.
        """
        from ..visualization import reuse_map

        assert self.reuse.pixels is not None
        try:
            reuse_map(
                self.reuse.pixels[self.shown_frames],
                self.maps.computed,
                captions=self.captions(),
                prefix_tokens=self.prefix_tokens,
                path=path,
            )
        except OSError as error:
            raise _unwritable(path, error.strerror or first_line(error)) from error


@dataclass
class Pipelines:
    """
    A model with reuse, and dense where that is to be compared.

    Attributes:
        model: as the user named it.
        reuse, dense: the pipelines; no `dense` where the one with reuse reuses nothing.
    """

    model: str
    reuse: Any
    dense: Any | None

    @classmethod
    def load(
        cls,
        model: str,
        settings: dict[str, Any],
        *,
        with_dense: bool = True,
        with_maps: bool = False,
        device: str | None = None,
        dtype: str | None = None,
        labels: ChosenLabels | None = None,
        progress: Callable[[str], None] = lambda step: None,
    ) -> Pipelines:
        """
        Loads a model.

        Args:
            model: folder or Hub id of an image or video classifier, plain or with reuse.
            settings: settings of reuse that differ from those of the checkpoint.
            with_dense: whether to load the model dense as well.
            with_maps: whether something is to be drawn.
            device, dtype, labels: where to run, with what, and what may be seen; see `load_pipeline`.
            progress: told what is being done.

        Raises:
            InputError: one sentence, if model, device or settings cannot be used.
        """
        progress("Loading the model")
        with quiet():
            reuse = load_pipeline(model, settings, device, dtype=dtype, labels=labels)
            config = reuse.model.config
            if config.temporal_reuse.mode == "off" and not config.active_reductions(config.temporal_reuse):
                if with_maps:
                    raise InputError(
                        f"The model '{shown(model)}' is set to mode 'off', which leaves nothing to draw; pass "
                        "--mode bidirectional or causal, or a --reduction."
                    )
                with_dense = False
            dense = None
            if with_dense:
                used = str(reuse.model.dtype).removeprefix("torch.")
                dense = load_pipeline(model, {"mode": "off", "reduction": []}, device, dtype=used, labels=labels)
        return cls(model, reuse, dense)


def compare(
    video: str,
    pipelines: Pipelines,
    *,
    num_frames: int | None = None,
    frame_sampling_rate: FrameSamplingRate | None = None,
    with_maps: bool = False,
    is_timed: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Comparison:
    """
    Classifies a clip with the stock pipeline, with reuse and dense, in turns.

    Args:
        video: path or address of a video.
        pipelines: of the model.
        num_frames, frame_sampling_rate: how frames are chosen; by default as the checkpoint says.
        with_maps: whether to keep the frames and the maps of tokens that pictures need.
        is_timed: whether to run each once to warm up, and then `TIMED_RUNS` times; else each runs once, the one with
            reuse first.
        progress: told what is being done.

    Raises:
        InputError: one sentence, if the video cannot be used.
    """
    from ..answers.scores import score_kind
    from ..video import VideoDecodingError, read_frames
    from ..video.sampling import choose_clips, rate_in_force

    pipe = pipelines.reuse
    config = pipe.model.config
    tubelet_size = config.tubelet_frames if config.window_frames else None
    rate = rate_in_force(frame_sampling_rate, pipe.video_processor)
    runs, warm_ups = (TIMED_RUNS, 1) if is_timed else (1, 0)
    try:
        with _at_hand(video) as source, quiet():
            progress(f"Looking at {shown(video, None)}")
            # One frame is enough to know whether the file can be read.
            _, info = read_frames(source, lambda total: [0])
            model_frames = config.window_frames
            _check_num_frames(num_frames, video, info.frames, pipelines.model, model_frames)
            chosen = {"reuse": pipe} | ({} if pipelines.dense is None else {"dense": pipelines.dense})
            measurements = {name: Measurement() for name in chosen}
            for run in range(warm_ups + runs):
                for name, one in chosen.items():
                    progress(f"{shown(video, None)}, run {run + 1} of {warm_ups + runs}: {name}")
                    keep_maps = with_maps and name == "reuse" and run == 0
                    sampling = {"num_frames": num_frames, "frame_sampling_rate": rate}
                    is_counted = run >= warm_ups
                    _run(one, source, video, sampling, measurements[name], timed=is_counted, keep_maps=keep_maps)
    except VideoDecodingError as error:
        raise InputError(shown(error, None)) from scrub(error)
    for measurement in measurements.values():
        if not measurement.is_finite:
            raise InputError(
                f"The model '{shown(pipelines.model)}' gives scores that are no numbers (NaN); its weights are "
                "damaged."
            )
    return Comparison(
        video=shown(as_named(video), None),
        model=shown(as_named(pipelines.model), None),
        settings={**config.temporal_reuse.settings_to_dict(), "threshold": config.threshold_in_force},
        device=str(pipe.device),
        info=info,
        frame_indices=choose_clips(info.frames, num_frames or config.num_frames, rate)[0],
        frame_sampling_rate=rate,
        dtype=str(pipe.model.dtype).removeprefix("torch."),
        tubelet_size=tubelet_size,
        # Maps of windows are of slots alone.
        prefix_tokens=0 if config.window_frames else config.prefix_tokens,
        runs=runs,
        is_warm=warm_ups > 0,
        reuse=measurements["reuse"],
        dense=measurements.get("dense"),
        scores=score_kind(config.problem_type),
    )


def _check_num_frames(
    num_frames: int | None, video: str, video_frames: int, model: str, model_frames: int | None
) -> None:
    """
    Looks whether the number of frames asked for can be had; `model_frames` is that of a model that takes no other.

    Raises:
        InputError: if it cannot.
    """
    if num_frames is None or num_frames == model_frames:
        return
    check_model_frames(num_frames, model, model_frames)
    if num_frames > video_frames:
        # The processor would repeat the last frame, which makes reuse look better than it is.
        raise InputError(
            f"The video '{shown(video)}' has {video_frames} frames, fewer than the {num_frames} asked for; pass "
            f"--num-frames {video_frames} or less."
        )


def check_picture_path(path: str, option: str, overwrite: bool = False) -> None:
    """
    Looks whether a picture can be written, before anything long is begun.

    Args:
        path: of the picture.
        option: that named it.
        overwrite: whether a file that others made may be replaced.

    Raises:
        InputError: if it cannot.
    """
    folder = os.path.dirname(os.path.abspath(path))
    if not path.lower().endswith(".png"):
        raise InputError(f"The picture '{shown(path)}' is written as PNG; end its name in '.png'.")
    if os.path.isdir(path):
        raise _unwritable(path, "it is a folder")
    if not os.path.isdir(folder):
        raise _unwritable(path, f"there is no folder '{shown(folder)}'")
    if not os.access(folder, os.W_OK):
        raise _unwritable(path, f"writing to the folder '{shown(folder)}' is not permitted")
    try:
        check_replaceable(path, option, overwrite)
    except TakenError as error:
        raise InputError(str(error)) from None


def _unwritable(path: str, reason: str) -> InputError:
    return InputError(f"The picture '{shown(path)}' cannot be written ({reason}); pass another path.")


@contextmanager
def _at_hand(video: str) -> Iterator[Any]:
    """The video as what can be read several times: of a pipe or an address a copy, which is fetched once."""
    from ..video.inputs import binary_file
    from ..video.limits import DEFAULT_LIMITS
    from ..video.reach import EVERYWHERE

    # A folder, and what is not there, is for the reader to name.
    is_pipe = os.path.exists(video) and stat.S_ISFIFO(os.stat(video).st_mode)
    if not is_pipe and not video.lower().startswith(("http://", "https://")):
        yield video
        return
    with binary_file(video, DEFAULT_LIMITS, EVERYWHERE) as (file, _):
        yield _Copy(file, shown(video))


class _Copy:
    """A file with the name of what it was made of, for messages."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.read, self.seek, self.tell, self.seekable = file.read, file.seek, file.tell, lambda: True
        self.name = name


def _run(
    pipe: VideoClassificationPipeline,
    source: Any,
    video: str,
    sampling: dict[str, Any],
    into: Measurement,
    *,
    timed: bool,
    keep_maps: bool,
) -> None:
    """Calls the pipeline once, and reads its model's output on the way."""
    import torch

    from ..video import VideoDecodingError

    started = model_started = model_seconds = 0.0

    def now() -> float:
        # A GPU is still at work when a call returns.
        if pipe.device.type != "cpu":
            torch.accelerator.synchronize()
        return time.perf_counter()

    def before(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        nonlocal model_started
        if keep_maps:
            into.pixels = _as_seen(kwargs["pixel_values"][0], pipe.video_processor)
            kwargs = {**kwargs, "output_token_maps": True}
        model_started = now()
        return args, kwargs

    def after(module: Any, args: Any, output: Any) -> None:
        nonlocal model_seconds
        model_seconds = now() - model_started
        into.logits = output.logits[0].double().cpu()
        if output.frame_logits is not None:
            into.frame_logits = output.frame_logits[0].double().cpu()
        # The maps are in the report of the one run that asked for them.
        if into.reuse is None:
            into.reuse = output.reuse

    handles = [
        pipe.model.register_forward_pre_hook(before, with_kwargs=True),
        pipe.model.register_forward_hook(after),
    ]
    try:
        started = now()
        into.labels = pipe(source, **sampling, top_k=pipe.model.config.num_labels)
        if timed:
            into.all_seconds.append(now() - started)
            into.all_model_seconds.append(model_seconds)
    except (VideoDecodingError, ContractError):
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        remedy = "another --device" if pipe.model.config.window_frames else "a smaller --num-frames"
        raise InputError(f"There is not enough memory to run '{shown(video)}'; pass {remedy}.") from error
    except ValueError as error:
        raise InputError(
            f"The model cannot run on '{shown(video)}' ({shown(first_line(error))}); check its processor."
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def _as_seen(pixel_values: torch.Tensor, processor: Any) -> np.ndarray:
    """The frames `(frames, height, width, 3)` that became the given pixel values, in 8 bits."""
    import torch

    frames = pixel_values.float().cpu()
    if processor.do_normalize:
        mean, deviation = (
            torch.tensor(values).expand(frames.shape[1])[:, None, None]
            for values in (processor.image_mean, processor.image_std)
        )
        frames = frames * deviation + mean
    if processor.do_rescale:
        frames = frames / processor.rescale_factor
    return frames.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
