"""The pipeline for videos that never end, and for everything that transformers' own does, whose place it takes."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForVideoClassification, PreTrainedConfig, VideoClassificationPipeline
from transformers.pipelines import PIPELINE_REGISTRY

from .answers.candidate_labels import HYPOTHESIS_TEMPLATE
from .answers.scores import score_kind
from .conversion import with_temporal_reuse
from .display import shown
from .labelling import has_text_tower, zero_shot
from .models.configuration_reuse import ReuseConfigMixin
from .models.register import classifier_types, entry_for
from .video.processing import TemporalReuseVideoProcessor


logger = logging.getLogger(__name__)

STOCK_TASK = "video-classification"
"""The name of transformers' own pipeline."""

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
_SOURCE_OPTIONS = ("live", "protocols", "timeout", "reconnect", "fps", "max_fps")
_STREAMS_OPTIONS = ("capacity", "snapshots", "snapshot_every", "resume", "kept", "keeps_all")


class TemporalReuseVideoClassificationPipeline(VideoClassificationPipeline):
    """
    Classifies videos like transformers' `VideoClassificationPipeline`, and streams that never end.

    It is what `pipeline("video-classification")` makes where this package is imported. A checkpoint that is named,
    plain or with reuse, is loaded with reuse; an image classifier becomes one of videos. A video classifier that is
    handed over as a model stays what it is, and a line says how it gets reuse; `"video-classification-reuse"` gives it
    reuse, with the default settings and the same weights. Models that there is no reuse for run as without this
    package. The processor of a model with reuse becomes a `TemporalReuseVideoProcessor` that makes the same pixels.

    A model with a text tower, such as a CLIP or SigLIP, takes any labels: `candidate_labels`, and if need be
    `hypothesis_template`, in each call; or when the pipeline is made, which then lets the tower go. See
    `hf_ttr.zero_shot`.

    Raises:
        ValueError: if the checkpoint's processor makes pixels that that one does not, or there is none; in
            `"video-classification-reuse"`, if there is no reuse for the model; if labels are given to a model with
            labels of its own, or there are none.

    Example:

    ```python
    >>> import hf_ttr
    >>> from transformers import pipeline

    >>> pipe = pipeline("video-classification", model=hf_ttr.example("vit-demo"))
    >>> for result in pipe.stream(hf_ttr.example("demo.mp4"), window=32, lookahead=7, top_k=1):
    ...     print(f"{result.start:.2f} to {result.end:.2f} s: {result.label}")
    0.00 to 1.24 s: space shuttle
    1.28 to 2.52 s: space shuttle
    ```
    """

    def __init__(
        self,
        model: Any,
        *args: Any,
        candidate_labels: Sequence[str] | None = None,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
        **kwargs: Any,
    ) -> None:
        has_reuse = isinstance(model.config, ReuseConfigMixin)
        if not has_reuse and _gets_reuse(model, kwargs.get("task")):
            model, has_reuse = with_temporal_reuse(model), True
        if has_reuse:
            processor = kwargs.get("video_processor") or kwargs.get("image_processor") or _processor_of(model)
            kwargs = {**kwargs, "video_processor": _as_video_processor(processor)}
        super().__init__(model, *args, **kwargs)
        # What was asked last, and the pipeline that answers it.
        self._labelled: tuple[Any, TemporalReuseVideoClassificationPipeline] | None = None
        if candidate_labels is not None:
            # On its device by now, and the tower is not kept.
            self.model = zero_shot(self.model, candidate_labels, hypothesis_template, tokenizer=self.tokenizer)

    def with_labels(
        self, candidate_labels: Sequence[str], hypothesis_template: str = HYPOTHESIS_TEMPLATE
    ) -> TemporalReuseVideoClassificationPipeline:
        """
        A pipeline for some labels, which shares the weights of this one; this one works as before.

        Args:
            candidate_labels (`list[str]`): what may be seen.
            hypothesis_template (`str`): the sentence that the text tower reads, with `{}` where the label belongs.

        Raises:
            ValueError: if the model has no text tower, or labels or template are none; one sentence.
        """
        asked = (
            self.model,
            str(self.model.dtype),
            str(self.model.device),
            _state_of_text_tower(self.model),
            repr(candidate_labels),
            hypothesis_template,
        )
        known = self._labelled
        if known is None or known[0] != asked:
            made = copy.copy(self)
            made.model = zero_shot(self.model, candidate_labels, hypothesis_template, tokenizer=self.tokenizer)
            made._labelled = None
            self._labelled = known = (asked, made)
        return known[1]

    def __call__(  # type: ignore[override]
        self,
        inputs: Any,
        candidate_labels: Sequence[str] | None = None,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
        **kwargs: Any,
    ) -> Any:
        """
        Classifies videos, as transformers does.

        Args:
            inputs: a video or a list of them: paths, addresses, or what else the processor takes.
            candidate_labels (`list[str]`, *optional*): of a model with a text tower, what may be seen.
            hypothesis_template (`str`): the sentence that the tower reads, with `{}` where the label belongs.
            kwargs: `num_frames`, `frame_sampling_rate`, `top_k`, `function_to_apply`, and what all pipelines take.

        Returns:
            `list[dict]`: labels with scores, best first, of each video.

        Raises:
            ValueError: if labels are needed and not there, or the other way round; one sentence.
        """
        if candidate_labels is not None:
            return self.with_labels(candidate_labels, hypothesis_template)(inputs, **kwargs)
        self._check_labels()
        return super().__call__(inputs, **kwargs)

    def _check_labels(self) -> None:
        if has_text_tower(self.model):
            name = shown(self.model.config.name_or_path) or type(self.model).__name__
            raise ValueError(
                f"{name} reads its labels; pass what may be seen as candidate_labels, such as ['a cat', 'a dog']."
            )

    def preprocess(  # type: ignore[override]
        self, video: Any, num_frames: int | None = None, frame_sampling_rate: int | str | None = None
    ) -> Any:
        """
        Makes pixels of a video, as transformers does; see `TemporalReuseVideoProcessor` for the sampling rate.

        Args:
            video: a path, an address, or what else the processor takes.
            num_frames (`int`, *optional*): frames to take; by default as many as the model's config says.
            frame_sampling_rate (`int` or `"spread"`, *optional*): step between them; by default as the processor says.
        """
        if not isinstance(self.video_processor, TemporalReuseVideoProcessor):
            rate = {} if frame_sampling_rate is None else {"frame_sampling_rate": frame_sampling_rate}
            return super().preprocess(video, num_frames, **rate)
        options: dict[str, Any] = {"num_frames": num_frames or self.model.config.num_frames, "do_sample_frames": True}
        if frame_sampling_rate is not None:
            options["frame_sampling_rate"] = frame_sampling_rate
        return self.video_processor(video, **options, return_tensors="pt").to(self.dtype)

    def _sanitize_parameters(self, **options: Any) -> Any:  # type: ignore[override]
        preprocess, forward, postprocess = super()._sanitize_parameters(**options)
        if options.get("function_to_apply") is None:
            # What transformers 5.17 fills in; see `postprocess`.
            postprocess.pop("function_to_apply", None)
        return preprocess, forward, postprocess

    def postprocess(self, model_outputs: Any, top_k: int = 5, function_to_apply: str | None = None) -> Any:  # type: ignore[override]
        """
        Makes labels with scores of logits, as the model was trained for; transformers 5.17 takes a softmax of any.

        Args:
            model_outputs: of a call of the model.
            top_k (`int`): how many labels.
            function_to_apply (`str`, *optional*): `"softmax"`, `"sigmoid"` or `"none"`.
        """
        if function_to_apply is None and isinstance(self.model.config, ReuseConfigMixin):
            function_to_apply = score_kind(self.model.config.problem_type)
        options = {} if function_to_apply is None else {"function_to_apply": function_to_apply}
        return super().postprocess(model_outputs, top_k, **options)

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
        candidate_labels: Sequence[str] | None = None,
        hypothesis_template: str = HYPOTHESIS_TEMPLATE,
        **options: Any,
    ) -> Any:
        """
        Classifies one or many streams as their frames come.

        Args:
            source: a path, an http(s) or rtsp URL, a camera (`"/dev/video0"`, `"camera:0"`), an iterator of frames, or
                anything else that `hf_ttr.streaming.open_source` takes; or a dict of names and sources, or a list of
                paths and URLs, for many streams at once. `live:` in front of a text has it treated as live.
            window (`int`, *optional*): frames of a result; by default 1, of a model of windows as many as it sees.
            stride (`int`, *optional*): frames from one window to the next; by default that many.
            lookahead (`int`): frames of delay, which let tokens be interpolated instead of held; not of windows.
            top_k (`int`): number of labels of a result.
            candidate_labels (`list[str]`, *optional*): of a model with a text tower, what may be seen.
            hypothesis_template (`str`): the sentence that the tower reads, with `{}` where the label belongs.
            options: `frame_sampling_rate`, `latency_budget_ms`, `max_threshold`, `verify_every`, `max_divergence`,
                `batch_size`, `function_to_apply` (see `hf_ttr.streaming.StreamOptions`); `live`, `protocols`,
                `timeout`, `reconnect`, `fps`, `max_fps` (see `hf_ttr.streaming.open_source`); `capacity`, `snapshots`,
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
        if candidate_labels is not None:
            labelled = self.with_labels(candidate_labels, hypothesis_template)
            return labelled.stream(source, window, stride, lookahead, top_k, **options)
        self._check_labels()
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

        check_source_options(**of(("timeout", "fps", "reconnect", "max_fps")))
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


def _state_of_text_tower(model: Any) -> list[tuple[int, int]]:
    """What is another once the weights that read labels were changed or replaced."""
    towers = (getattr(model, name, None) for name in ("text_model", "text_projection"))
    weights = (weight for tower in towers if isinstance(tower, torch.nn.Module) for weight in tower.parameters())
    # Tensors of inference mode do not count their changes, and those without data have no place.
    return [
        (0 if weight.is_meta else weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        for weight in weights
    ]


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


def _gets_reuse(model: Any, task: str | None) -> bool:
    """Whether a model that was handed over without reuse gets it; where not, though it could, a line says so."""
    if task != STOCK_TASK:
        return True
    if not classifier_types().get(model.config.model_type, False):
        return False
    if not hasattr(model.config, "num_frames"):
        # transformers has no video classifier of it.
        return True
    logger.warning(
        "This %s runs dense, as it was made before the pipeline; pass its checkpoint by name, or "
        "hf_ttr.with_temporal_reuse(model), to reuse tokens.",
        type(model).__name__,
    )
    return False


def _processor_of(model: Any) -> Any:
    """The processor of the checkpoint that a model came from."""
    name = model.config.name_or_path
    try:
        return TemporalReuseVideoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"there is no processor for the {type(model).__name__} in {name!r}; pass the one that it was trained with "
            "as video_processor."
        ) from error


class AutoModelWithReuse:
    """Loads a checkpoint that there is reuse for, plain or not, for the pipelines."""

    @classmethod
    def from_pretrained(cls, name: str, *args: Any, **kwargs: Any) -> Any:
        """
        Loads it, float16 as float32 where no other device than the CPU is, which is several times faster.

        Args:
            name (`str`): folder or Hub id.
            args, kwargs: as transformers' Auto classes take them.

        Raises:
            ValueError: if there is no reuse for it, and transformers' own classes are to load it.
        """
        places = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies", "subfolder")
        config, _ = PreTrainedConfig.get_config_dict(name, **{key: kwargs[key] for key in places if key in kwargs})
        model_type = config.get("model_type")
        entry, is_plain = entry_for(model_type), classifier_types().get(str(model_type))
        if entry is None or is_plain is None:
            raise ValueError(f"there is no temporal reuse for checkpoints of the type {model_type!r}.")
        saved = config.get("dtype") or config.get("torch_dtype")
        if kwargs.get("dtype") == "auto" and saved == "float16" and not torch.accelerator.is_available():
            logger.warning(
                "%s has float16 weights, which are loaded as float32: there is no GPU, and with float16 most CPUs are "
                "several times slower; dtype=torch.float16 keeps it.",
                shown(name, None),
            )
            kwargs["dtype"] = torch.float32
        if not is_plain:
            return AutoModelForVideoClassification.from_pretrained(name, *args, **kwargs)
        task = kwargs.pop("_from_pipeline", None)
        for private in ("code_revision", "trust_remote_code"):
            kwargs.pop(private, None)
        kind: Any = entry.class_for(config.get("architectures") or [])
        model = kind.from_pretrained(name, *args, **kwargs)
        if task == STOCK_TASK and model.config.temporal_reuse.mode != "off":
            logger.warning(
                "%s runs with temporal token reuse (%s), as hf_ttr is imported; the dense model: "
                'model_kwargs={"temporal_reuse": {"mode": "off"}}.',
                shown(name, None),
                _how(model.config),
            )
        return model


def _how(config: Any) -> str:
    """What decides what is reused."""
    settings = config.temporal_reuse
    threshold, budget = config.threshold_in_force, settings.compute_budget
    parts = [("threshold", threshold), ("budget", budget)]
    return ", ".join([settings.mode, *(f"{name} {value:g}" for name, value in parts if value is not None)])


def _register() -> None:
    """Puts the pipeline in the place of transformers' own, and beside it under a name of its own."""
    tasks = PIPELINE_REGISTRY.supported_tasks
    stock = tasks[STOCK_TASK]
    known = (AutoModelWithReuse, *stock["pt"])
    entry = {**stock, "impl": TemporalReuseVideoClassificationPipeline, "pt": known}
    tasks[STOCK_TASK] = entry
    tasks[TASK] = {name: value for name, value in entry.items() if name != "default"}


_register()
