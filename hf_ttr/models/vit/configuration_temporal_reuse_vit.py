"""Configuration of a ViT with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, ViTConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseViTConfig(ReuseConfigMixin, ViTConfig):
    """
    A `ViTConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `ViTConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseViTConfig

    >>> config = TemporalReuseViTConfig(temporal_reuse={"compute_budget": 0.2})
    >>> config.temporal_reuse.mode, config.temporal_reuse.compute_budget
    ('bidirectional', 0.2)
    ```
    """

    model_type = "temporal_reuse_vit"
    parent_model_type: ClassVar[str] = "vit"
    parent_name: ClassVar[str] = "ViT"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


__all__ = ["TemporalReuseViTConfig"]
