"""Configuration of a ViT-MSN with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, ViTMSNConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseViTMSNConfig(ReuseConfigMixin, ViTMSNConfig):
    """
    A `ViTMSNConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `ViTMSNConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseViTMSNConfig

    >>> config = TemporalReuseViTMSNConfig(temporal_reuse={"mode": "causal"})
    >>> config.prefix_tokens, config.temporal_reuse.mode
    (1, 'causal')
    ```
    """

    model_type = "temporal_reuse_vit_msn"
    parent_model_type: ClassVar[str] = "vit_msn"
    parent_name: ClassVar[str] = "ViT-MSN"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


__all__ = ["TemporalReuseViTMSNConfig"]
