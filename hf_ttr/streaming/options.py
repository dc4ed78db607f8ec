"""How streams are looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..checks import is_number, is_whole


if TYPE_CHECKING:
    from ..answers.scores import ScoreKind

_FREE = ("top_k", "batch_size")
"""Options that are of no account when a stream goes on."""

LARGEST_FACTOR = 4.0
"""How far the latency budget may raise the threshold where nothing else is said."""


@dataclass(frozen=True)
class StreamOptions:
    """
    How streams are looked at.

    Args:
        window (`int`, *optional*): frames of a result: by default 1 for a model that looks at frames, whose logits are
            averaged over the window; a model that sees windows has one of its own.
        stride (`int`, *optional*): frames from one window to the next, by default as many as a window has.
        lookahead (`int`): frames by which results come later, so that tokens are interpolated between the computed
            tokens before and after them; of models that look at frames.
        top_k (`int`): number of labels of a result; all if the model has fewer.
        frame_sampling_rate (`int`): look at every so many-th frame of a source.
        latency_budget_ms (`float`, *optional*): how late results may come, in milliseconds. While the 95th percentile
            of the latency is above, the threshold is raised, up to `max_threshold`; then it comes down again. Of
            files, which are read ahead, it is the time of computing.
        max_threshold (`float`, *optional*): by default four times the threshold of the model.
        verify_every (`int`, *optional*): after so many frames the model runs without reuse on a frame (or window) as
            well, which tells how far the result was from that; the stream goes on from what was computed there.
        max_divergence (`float`, *optional*): the Kullback-Leibler divergence from the dense scores, in nats, above
            which a check lowers the threshold of its stream.
        batch_size (`int`): most streams in one call of the model.
        function_to_apply (`str`, *optional*): what turns logits to scores, `"softmax"`, `"sigmoid"` or `"none"`; by
            default as the `problem_type` of the model says, like in transformers' pipelines.

    Raises:
        ValueError: if one is out of range; one sentence.
    """

    window: int | None = None
    stride: int | None = None
    lookahead: int = 0
    top_k: int = 5
    frame_sampling_rate: int = 1
    latency_budget_ms: float | None = None
    max_threshold: float | None = None
    verify_every: int | None = None
    max_divergence: float | None = None
    batch_size: int = 16
    function_to_apply: ScoreKind | None = None

    def __post_init__(self) -> None:
        for name in ("window", "stride", "verify_every"):
            value = getattr(self, name)
            self._require(name, value is None or (is_whole(value) and value >= 1), "a whole number of at least 1")
        for name in ("top_k", "frame_sampling_rate", "batch_size"):
            value = getattr(self, name)
            self._require(name, is_whole(value) and value >= 1, "a whole number of at least 1")
        self._require("lookahead", is_whole(self.lookahead) and self.lookahead >= 0, "a whole number of at least 0")
        for name in ("latency_budget_ms", "max_threshold", "max_divergence"):
            value = getattr(self, name)
            self._require(name, value is None or (is_number(value) and value > 0), "a number above 0")
        self._require(
            "function_to_apply",
            self.function_to_apply in (None, "softmax", "sigmoid", "none"),
            "'softmax', 'sigmoid' or 'none'",
        )
        if self.max_divergence is not None and self.verify_every is None:
            raise ValueError("max_divergence is held by dense checks; say with verify_every how often to make one.")
        if self.max_threshold is not None and self.latency_budget_ms is None:
            raise ValueError("max_threshold bounds what latency_budget_ms may do; give that as well.")

    def _require(self, name: str, condition: bool, allowed: str) -> None:
        if not condition:
            raise ValueError(f"{name} is {getattr(self, name)!r}, but must be {allowed}.")

    def lasting(self) -> dict[str, Any]:
        """Those that a stream cannot change while it goes on: all on which its results depend but their number."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE}

    def check_model(self, window_frames: int | None, threshold: float | None) -> None:
        """
        Looks whether a model can be used like that.

        Args:
            window_frames (`int`, *optional*): frames that the model sees at once, if it does.
            threshold (`float`, *optional*): of the model; `None` where a budget or mode "off" decides.

        Raises:
            ValueError: if not; one sentence.
        """
        if window_frames is not None:
            if self.window not in (None, window_frames):
                raise ValueError(f"window is {self.window}, but this model sees {window_frames} frames at once.")
            if self.lookahead:
                raise ValueError(
                    f"lookahead is {self.lookahead}, but this model sees whole windows anyway; leave it out."
                )
        needs_threshold: dict[str, Any] = {
            "latency_budget_ms": self.latency_budget_ms,
            "max_divergence": self.max_divergence,
        }
        for name, value in needs_threshold.items():
            if value is not None and threshold is None:
                raise ValueError(
                    f"{name} moves the threshold, which this model does not go by; give it one, instead of a "
                    'compute_budget, threshold 0 or mode "off".'
                )
        if self.max_threshold is not None and threshold is not None and self.max_threshold < threshold:
            raise ValueError(f"max_threshold is {self.max_threshold:g}, but the model's threshold is {threshold:g}.")


def check_source_options(
    timeout: float = 10.0, fps: float = 25.0, reconnect: float | None = None, max_fps: float | None = None
) -> None:
    """
    Looks at what is asked of sources, before any is opened.

    Args:
        timeout, fps, reconnect, max_fps: as for `hf_ttr.streaming.open_source`.

    Raises:
        ValueError: if one is out of range; one sentence.
    """
    for name, value, is_fine in (
        ("timeout", timeout, timeout > 0),
        ("fps", fps, fps > 0),
        ("reconnect", reconnect, reconnect is None or reconnect >= 0),
        ("max_fps", max_fps, max_fps is None or max_fps > 0),
    ):
        if not is_fine:
            raise ValueError(f"`{name}` is {value:g}; pass a larger number.")
