"""Configuration of a TimeSformer with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, TimesformerConfig

from ...configuration import TemporalReuseConfig
from ...reduction.base import LayerReduction, Reduction
from ..configuration_reuse import WindowConfigMixin


class TemporalReuseTimesformerConfig(WindowConfigMixin, TimesformerConfig):
    """
    A `TimesformerConfig` with the settings of reuse.

    Tokens are reused where attention is divided, over time and within each frame (`attention_type`
    `"divided_space_time"`, the default). With another type there is mode `"off"` alone.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        kwargs: everything that `TimesformerConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseTimesformerConfig

    >>> config = TemporalReuseTimesformerConfig(temporal_reuse={"compute_budget": 0.3})
    >>> config.num_frames, config.attention_type, config.temporal_reuse.representative
    (8, 'divided_space_time', 'spread')
    ```
    """

    model_type = "temporal_reuse_timesformer"
    parent_model_type: ClassVar[str] = "timesformer"
    parent_name: ClassVar[str] = "TimeSformer"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]
    tubelet_frames: ClassVar[int] = 1  # type: ignore[misc]
    temporal_reuse: dict | PretrainedConfig | None = None

    def active_reductions(self, settings: TemporalReuseConfig) -> list[Reduction]:
        """See `ReuseConfigMixin.active_reductions`."""
        found = super().active_reductions(settings)
        if self.attention_type != "divided_space_time" and (settings.mode != "off" or found):
            raise ValueError(
                f"attention_type is {self.attention_type!r}, but a TimeSformer reuses tokens with "
                "'divided_space_time' alone; set temporal_reuse={'mode': 'off'} to run it as it is."
            )
        for method in found:
            if isinstance(method, LayerReduction):
                raise ValueError(
                    f"reduction {method.method!r} makes tokens fewer from layer to layer, but a TimeSformer attends "
                    "over time at every position and needs them all; leave it out, or take 'run_length'."
                )
        return found


__all__ = ["TemporalReuseTimesformerConfig"]
