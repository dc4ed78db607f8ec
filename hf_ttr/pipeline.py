"""The pipeline for videos that never end, and for everything that the stock one does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from transformers import AutoModelForVideoClassification, VideoClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .conversion import with_temporal_reuse
from .models.configuration_reuse import ReuseConfigMixin
from .processing import TemporalReuseVideoProcessor


TASK = "video-classification-reuse"
"""Its name for `transformers.pipeline`."""

_ENGINE_OPTIONS = (
    "frame_sampling_rate",
    "latency_budget_ms",
    "max_threshold",
    "verify_every",
    "max_divergence",
    "batch_size",
    "function_to_apply",
)
_SOURCE_OPTIONS = ("live", "protocols", "timeout", "reconnect", "fps")
_STREAMS_OPTIONS = ("capacity", "snapshots", "snapshot_every", "resume", "kept", "keeps_all")


class TemporalReuseVideoClassificationPipeline(VideoClassificationPipeline):
    """
    Classifies videos like transformers' `VideoClassificationPipeline`, and streams that never end.

    A model without reuse gets it, with the default settings; its weights are shared. The processor of the checkpoint
    becomes a `TemporalReuseVideoProcessor` that makes the same pixels.

    Raises:
        ValueError: if the checkpoint's processor makes pixels that that one does not.

    Example:

    ```python
    >>> import hf_ttr
    >>> from transformers import pipeline

    >>> pipe = pipeline("video-classification-reuse", model="hf_ttr/assets/vit-demo")
    >>> for result in pipe.stream("hf_ttr/assets/demo.mp4", window=32, lookahead=7, top_k=1):
    ...     print(f"{result.start:.2f} to {result.end:.2f} s: {result.label}")
    0.00 to 1.24 s: space shuttle
    1.28 to 2.52 s: space shuttle
    ```
    """

    def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(model.config, ReuseConfigMixin):
            model = with_temporal_reuse(model)
        processor = kwargs.get("video_processor") or kwargs.get("image_processor")
        super().__init__(model, *args, **{**kwargs, "video_processor": _as_video_processor(processor)})

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """
        Saves model and processor; the code stays in the package.

        Args:
            save_directory (`str` or `os.PathLike`): the folder; it is made if need be.
            kwargs: as for models, such as `push_to_hub`.
        """
        self.model.save_pretrained(save_directory, **kwargs)
        processor = _as_video_processor(self.video_processor or self.image_processor)
        processor.save_pretrained(save_directory, **kwargs)

    def stream(
        self,
        source: Any,
        window: int | None = None,
        stride: int | None = None,
        lookahead: int = 0,
        top_k: int = 5,
        **options: Any,
    ) -> Any:
        """
        Classifies one or many streams as their frames come.

        Args:
            source: a path, an http(s) or rtsp URL, a camera (`"/dev/video0"`, `"camera:0"`), an iterator of frames, or
                anything else that `hf_ttr.streaming.open_source` takes; or a dict of names and sources, or a list of
                paths and URLs, for many streams at once. `live:` in front of a text has it treated as live.
            window (`int`, *optional*): frames of a result; by default 1, of a VideoMAE as many as it sees at once.
            stride (`int`, *optional*): frames from one window to the next; by default that many.
            lookahead (`int`): frames of delay, which let tokens be interpolated instead of held; not of a VideoMAE.
            top_k (`int`): number of labels of a result.
            options: `frame_sampling_rate`, `latency_budget_ms`, `max_threshold`, `verify_every`, `max_divergence`,
                `batch_size`, `function_to_apply` (see `hf_ttr.streaming.StreamOptions`); `live`, `protocols`,
                `timeout`, `reconnect`, `fps` (see `hf_ttr.streaming.open_source`); `capacity`, `snapshots`,
                `snapshot_every`, `resume`, `kept`, `keeps_all` (see `hf_ttr.streaming.VideoStreams`).

        Returns:
            `hf_ttr.streaming.VideoStreams`: an iterator of `hf_ttr.streaming.StreamResult`: stream, timestamps, labels
            with scores, computed share, latency and more. It closes its sources when it comes to its end; use it as a
            context manager where it may not.

        Raises:
            SourceError: if no source can be opened, which the iterator may raise as well; where some can, the others
                are faults in `statistics`. Live sources are looked for until they are there, see `reconnect`.
            SnapshotError: if a run cannot go on as it was, or its folder cannot be written.
            TypeError: if an option has another name.
            ValueError: if an option is out of range, or does not fit the model.
        """
        from .streaming import FrameSource, StreamEngine, StreamOptions, VideoStreams, open_source
        from .streaming.names import origin, shown_names, unique_names
        from .streaming.options import check_source_options

        known = (*_ENGINE_OPTIONS, *_SOURCE_OPTIONS, *_STREAMS_OPTIONS)
        if unknown := sorted(options.keys() - set(known)):
            raise TypeError(
                f"stream has no option {', '.join(map(repr, unknown))}; the options are {', '.join(known)}."
            )

        def of(names: tuple[str, ...]) -> dict[str, Any]:
            return {name: options[name] for name in names if name in options}

        check_source_options(**of(("timeout", "fps", "reconnect")))
        processor = _as_video_processor(self.video_processor or self.image_processor)
        engine_options = of(_ENGINE_OPTIONS)
        # As a call of the pipeline has it.
        engine_options.setdefault("function_to_apply", self._postprocess_params.get("function_to_apply"))
        settings = StreamOptions(window, stride, lookahead, top_k, **engine_options)
        engine = StreamEngine(self.model, processor, settings)
        named = shown_names(_by_name(source, unique_names))
        openers: dict[str, Any] = {
            name: one if isinstance(one, FrameSource) else partial(open_source, one, name=name, **of(_SOURCE_OPTIONS))
            for name, one in named.items()
        }
        origins = {name: text for name, one in named.items() if (text := origin(one)) is not None}
        return VideoStreams(engine, openers, origins=origins, **of(_STREAMS_OPTIONS))


def _as_video_processor(processor: Any) -> Any:
    """The processor that takes videos, with the settings of any other."""
    if processor is None or isinstance(processor, TemporalReuseVideoProcessor):
        return processor
    return TemporalReuseVideoProcessor.from_dict(processor.to_dict())


def _by_name(source: Any, unique_names: Any) -> dict[str, Any]:
    """The sources with their names; a list of frames is one source."""
    if isinstance(source, Mapping) and not source.keys() <= {"path", "bytes"}:
        return dict(source)
    many = isinstance(source, (list, tuple)) and len(source) > 0 and not hasattr(source[0], "shape")
    many = many and all(isinstance(one, (str, bytes)) or hasattr(one, "__fspath__") for one in source)
    sources = list(source) if many else [source]
    return dict(zip(unique_names(sources), sources))


PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=TemporalReuseVideoClassificationPipeline,
    pt_model=(AutoModelForVideoClassification,),
    type="video",
)
