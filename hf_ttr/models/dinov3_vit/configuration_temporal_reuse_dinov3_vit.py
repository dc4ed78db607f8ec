"""Configuration of a DINOv3 with temporal token reuse."""

from typing import ClassVar

from transformers import DINOv3ViTConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseDINOv3ViTConfig(ReuseConfigMixin, DINOv3ViTConfig):
    """
    A `DINOv3ViTConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `DINOv3ViTConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseDINOv3ViTConfig

    >>> config = TemporalReuseDINOv3ViTConfig(temporal_reuse={"mode": "causal"})
    >>> config.prefix_tokens, config.temporal_reuse.mode
    (1, 'causal')
    ```
    """

    model_type = "temporal_reuse_dinov3_vit"
    parent_model_type: ClassVar[str] = "dinov3_vit"
    parent_name: ClassVar[str] = "DINOv3"

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16

    @property
    def prefix_tokens(self) -> int:
        """See `ReuseConfigMixin.prefix_tokens`: CLS and the registers."""
        return 1 + self.num_register_tokens


__all__ = ["TemporalReuseDINOv3ViTConfig"]
