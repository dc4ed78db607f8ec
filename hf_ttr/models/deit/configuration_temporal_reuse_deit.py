"""Configuration of a DeiT with temporal token reuse."""

from typing import ClassVar

from transformers import DeiTConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseDeiTConfig(ReuseConfigMixin, DeiTConfig):
    """
    A `DeiTConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `DeiTConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseDeiTConfig

    >>> config = TemporalReuseDeiTConfig(temporal_reuse={"mode": "causal"})
    >>> config.prefix_tokens, config.temporal_reuse.mode
    (2, 'causal')
    ```
    """

    model_type = "temporal_reuse_deit"
    parent_model_type: ClassVar[str] = "deit"
    parent_name: ClassVar[str] = "DeiT"
    prefix_tokens: ClassVar[int] = 2  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


__all__ = ["TemporalReuseDeiTConfig"]
