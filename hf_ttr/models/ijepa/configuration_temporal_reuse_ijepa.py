"""Configuration of an I-JEPA with temporal token reuse."""

from typing import ClassVar

from transformers import IJepaConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseIJepaConfig(ReuseConfigMixin, IJepaConfig):
    """
    A `IJepaConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `IJepaConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseIJepaConfig

    >>> config = TemporalReuseIJepaConfig(temporal_reuse={"mode": "causal"})
    >>> config.prefix_tokens, config.temporal_reuse.mode
    (0, 'causal')
    ```
    """

    model_type = "temporal_reuse_ijepa"
    parent_model_type: ClassVar[str] = "ijepa"
    parent_name: ClassVar[str] = "I-JEPA"

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


__all__ = ["TemporalReuseIJepaConfig"]
