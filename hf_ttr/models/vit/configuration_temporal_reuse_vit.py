"""Configuration of a ViT with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, ViTConfig

from ...reduction.base import ModelShape
from ..configuration_reuse import ReuseConfigMixin, patches_of_frame, shape_of


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
    auto_classes: ClassVar[dict[str, str]] = {
        "AutoConfig": "TemporalReuseViTConfig",
        "AutoModel": "TemporalReuseViTModel",
        "AutoModelForImageClassification": "TemporalReuseViTForImageClassification",
        "AutoModelForVideoClassification": "TemporalReuseViTForVideoClassification",
    }

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16

    def model_shape(self, tokens: int | None = None) -> ModelShape:
        """See `ReuseConfigMixin.model_shape`."""
        return shape_of(self, tokens or 1 + patches_of_frame(self), has_first_token=True)


__all__ = ["TemporalReuseViTConfig"]
