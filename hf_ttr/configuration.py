"""The settings of temporal token reuse, independent of any model."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from transformers import PretrainedConfig
from transformers import __version__ as transformers_version

from .checks import is_number, is_whole
from .modes import MODES
from .reduction.base import ModelShape, Reduction, as_reductions


REPRESENTATIVES = ("spread", "interpolate", "middle", "start")
DEFAULT_THRESHOLD, DEFAULT_WINDOW_THRESHOLD = 0.1, 0.4
CONTEXT_WEIGHT, DENSE_CONTEXT_WEIGHT = 0.3, 4.0
"""`context_weight` by default, and where all outputs are read; see `docs/benchmarks/dense_outputs.md`."""
WHOLE_FRAME = 2**20 + 1
"""A `context_size` beyond any grid."""


class TemporalReuseConfig(PretrainedConfig):
    """
    How a video model decides which tokens to compute and which to reuse.

    It is nested in the config of every reuse model (`config.temporal_reuse`), saved in its `config.json`, and can be
    published on its own with `save_pretrained` or `push_to_hub`.

    Args:
        mode (`str`, defaults to `"bidirectional"`):
            `"bidirectional"` interpolates a reused token between the computed tokens of its position before and after
            it (clips and files); `"causal"` holds the last computed one (live streams); `"off"` runs the parent model.
            A model that sees windows reuses inside them too: see `representative`.
        threshold (`float`, *optional*):
            Largest error of a reused token: the distance between its patch embedding and the reused one, relative to
            the mean norm of the stream's patch embeddings. Errors of a position add up over the frames in which it is
            reused: their squares, to the square of the threshold. 0 computes every token. Left out, it is found from
            `compute_budget`, or is 0.1 (of frames) or 0.4 (of windows) where there is no budget either.
        compute_budget (`float`, *optional*):
            Share of tokens to compute, in (0, 1]. The planner finds the threshold that meets it. With `threshold`
            given as well, the budget is an upper bound: what is under the threshold is reused in any case.
            The first frame of a stream is always computed whole, and so are scene cuts.
        frame_skipping (`bool`, defaults to `True`):
            Of frames, in mode `"bidirectional"` with a `compute_budget` and no threshold: whether some frames of a
            call may be left out whole, their outputs interpolated, where that is predicted to be nearer to the dense
            model. The first and the last frame of a call are never left out.
        dense_outputs (`bool`, defaults to `False`):
            Of frames, in mode `"bidirectional"`: whether the outputs of all tokens are read, as for detection or
            segmentation. Positions then count alike, and what changes anywhere in the frame counts everywhere: in
            place of what `saliency_weight`, `context_weight` and `context_size` say.
        max_age (`int`, *optional*, defaults to 24):
            A token is recomputed at the latest after this many frames, or windows; `None` sets no limit.
        saliency_weight (`float`, defaults to 0.5):
            Of frames: exponent of the attention that a position receives from the CLS token, by which its error is
            weighted: 0 treats all positions alike, 0.5 is the square root.
        context_weight (`float`, defaults to 0.3):
            How much change around a position counts towards recomputing it, because its deep states depend on what it
            attends to: factor of the mean squared error around it. 0 looks at the position alone.
        context_size (`int`, defaults to 5):
            Side of the neighbourhood, in patches, for `context_weight`; odd.
        scene_cut (`float`, defaults to 0.6):
            Of frames: one in which more than this share of the patches must be computed is computed whole, in (0, 1].
        representative (`str`, defaults to `"spread"`):
            Of windows: which token stands for a run of times in which a position is reused: that at its `"start"` (in
            mode `"causal"` always) or at its `"middle"`; `"interpolate"` computes the middles and mixes those of
            neighbouring runs; `"spread"` does so with tokens that lie at different times in neighbouring positions.
        drift_weight (`float`, defaults to 0.01):
            Of windows: what a token loses by being represented by one that is n tubelets away, whatever its content,
            as its position embedding is another: this factor times the square of n.
        window_weight (`float`, defaults to 1.0):
            Of windows in a stream: factor of the mean squared change of the window since a token was computed, by
            which the error of keeping it grows, because it had attended to another window.
        sliding (`bool`, defaults to `False`):
            Of windows in a stream, where positions are relative (V-JEPA 2) and the `stride` is told: whether tokens
            of frames that were seen before are kept where these are now. By default each slot keeps its own, as in all
            models. It computes less, and is further from the dense model: what is kept never saw the new frames.
        reduction (`list`, *optional*):
            Methods of `hf_ttr.reduction` that merge tokens or leave some out, or dicts of their settings, such as
            `{"method": "tome", "r": 8}`. They work in every mode, with reuse and (mode `"off"`) without.

    Raises:
        ValueError: one sentence that names the setting, its value and what is allowed.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseConfig

    >>> TemporalReuseConfig(compute_budget=0.2).compute_budget
    0.2
    >>> TemporalReuseConfig(threshold=-1)
    Traceback (most recent call last):
    ValueError: temporal_reuse.threshold is -1, but must be a number of at least 0, or None.
    ```
    """

    model_type = "temporal_reuse"

    def __init__(
        self,
        mode: str = "bidirectional",
        threshold: float | None = None,
        compute_budget: float | None = None,
        frame_skipping: bool = True,
        dense_outputs: bool = False,
        max_age: int | None = 24,
        saliency_weight: float = 0.5,
        context_weight: float = CONTEXT_WEIGHT,
        context_size: int = 5,
        scene_cut: float = 0.6,
        representative: str = "spread",
        drift_weight: float = 0.01,
        window_weight: float = 1.0,
        sliding: bool = False,
        reduction: Iterable[Reduction | dict[str, Any]] | Reduction | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(kwargs.keys() - _INHERITED)
        if unknown:
            raise ValueError(
                f"temporal_reuse has no setting {', '.join(map(repr, unknown))}; "
                f"the settings are {', '.join(_FIELDS)}."
            )
        self.mode = mode
        self.threshold = threshold
        self.compute_budget = compute_budget
        self.frame_skipping = frame_skipping
        self.dense_outputs = dense_outputs
        self.max_age = max_age
        self.saliency_weight = saliency_weight
        self.context_weight = context_weight
        self.context_size = context_size
        self.scene_cut = scene_cut
        self.representative = representative
        self.drift_weight = drift_weight
        self.window_weight = window_weight
        self.sliding = sliding
        self.reduction = as_reductions(reduction)
        self.validate_settings()
        super().__init__(**kwargs)

    def validate_settings(self) -> None:
        """Raises a `ValueError` of one sentence at the first setting that is out of range."""
        self._require("mode", self.mode in MODES, f"one of {', '.join(map(repr, MODES))}")
        self._require(
            "threshold",
            self.threshold is None or (is_number(self.threshold) and self.threshold >= 0),
            "a number of at least 0, or None",
        )
        self._require(
            "compute_budget",
            self.compute_budget is None or (is_number(self.compute_budget) and 0 < self.compute_budget <= 1),
            "a share of the tokens above 0 and at most 1, or None",
        )
        self._require(
            "max_age",
            self.max_age is None or (is_whole(self.max_age) and self.max_age >= 1),
            "a whole number of frames of at least 1, or None",
        )
        for name in ("saliency_weight", "context_weight", "drift_weight", "window_weight"):
            value = getattr(self, name)
            self._require(name, is_number(value) and value >= 0, "a number of at least 0")
        self._require(
            "context_size",
            is_whole(self.context_size) and self.context_size >= 1 and self.context_size % 2 == 1,
            "an odd whole number of patches",
        )
        self._require(
            "scene_cut",
            is_number(self.scene_cut) and 0 < self.scene_cut <= 1,
            "a share of the patches above 0 and at most 1",
        )
        self._require(
            "representative",
            self.representative in REPRESENTATIVES,
            f"one of {', '.join(map(repr, REPRESENTATIVES))}",
        )
        for name in ("frame_skipping", "dense_outputs", "sliding"):
            self._require(name, isinstance(getattr(self, name), bool), "true or false")

    def _require(self, name: str, condition: bool, allowed: str) -> None:
        if not condition:
            raise ValueError(f"temporal_reuse.{name} is {getattr(self, name)!r}, but must be {allowed}.")

    def active_reductions(self, model: ModelShape) -> list[Reduction]:
        """
        The methods that do anything, in the order in which they work.

        Raises:
            ValueError: if one does not fit the model; one sentence.
        """
        for method in self.reduction:
            method.check(model)
        return [method for method in self.reduction if not method.is_idle]

    def effective_threshold(self, default: float = DEFAULT_THRESHOLD) -> float:
        """The threshold in force: the one given, 0 where a budget decides alone, or the default."""
        if self.threshold is not None:
            return float(self.threshold)
        return 0.0 if self.compute_budget is not None else default

    @property
    def computes_everything(self) -> bool:
        """Whether no token can ever be reused (threshold 0 without a budget, or a budget of 1)."""
        if self.compute_budget is not None and self.compute_budget < 1:
            return False
        return self.effective_threshold() == 0

    @property
    def skips_frames(self) -> bool:
        """Whether frames of a call may be left out whole."""
        # With a threshold, what is spent is not known before it is planned.
        has_budget = self.threshold is None and self.compute_budget is not None and self.compute_budget < 1
        return self.frame_skipping and has_budget and self.mode == "bidirectional"

    def in_force(self) -> TemporalReuseConfig:
        """The same with the weights that `dense_outputs` stands for, where they are asked for and heard."""
        if not self.dense_outputs:
            return self
        own = copy.copy(self)
        own.dense_outputs = self.mode == "bidirectional"
        if own.dense_outputs:
            own.saliency_weight, own.context_weight, own.context_size = 0.0, DENSE_CONTEXT_WEIGHT, WHOLE_FRAME
        return own

    def settings_to_dict(self) -> dict[str, Any]:
        """The settings alone, as JSON can hold them."""
        settings = {name: getattr(self, name) for name in _FIELDS}
        settings["reduction"] = [method.to_dict() for method in self.reduction]
        return settings

    def to_dict(self) -> dict[str, Any]:
        """The settings and what they are of: nothing of what `PretrainedConfig` adds for language models."""
        settings = self.settings_to_dict()
        return {"model_type": self.model_type, **settings, "transformers_version": transformers_version}

    def to_diff_dict(self) -> dict[str, Any]:
        """The same as `to_dict`: a published setting should not change with a later default."""
        return self.to_dict()


def default_threshold(sees_windows: bool) -> float:
    """The threshold where none is set, of a model that sees a window at once, or frames one by one."""
    return DEFAULT_WINDOW_THRESHOLD if sees_windows else DEFAULT_THRESHOLD


def as_temporal_reuse_config(value: PretrainedConfig | dict[str, Any] | None) -> TemporalReuseConfig:
    """Returns `value` as a validated `TemporalReuseConfig`; a dict holds settings, `None` means the defaults."""
    if value is None:
        return TemporalReuseConfig()
    if isinstance(value, TemporalReuseConfig):
        return value
    if isinstance(value, dict):
        return TemporalReuseConfig(**value)
    raise ValueError(
        f"temporal_reuse is {value!r}, but must be a TemporalReuseConfig, a dict of its settings, or None."
    )


_FIELDS = (
    "mode",
    "threshold",
    "compute_budget",
    "frame_skipping",
    "dense_outputs",
    "max_age",
    "saliency_weight",
    "context_weight",
    "context_size",
    "scene_cut",
    "representative",
    "drift_weight",
    "window_weight",
    "sliding",
    "reduction",
)
# What the base class writes or accepts on its own, so that its dicts and its save files are read back.
_INHERITED = frozenset(PretrainedConfig().to_dict()) | frozenset(vars(PretrainedConfig()))
_INHERITED |= {"model_type", "transformers_version", "name_or_path", "_commit_hash"}
