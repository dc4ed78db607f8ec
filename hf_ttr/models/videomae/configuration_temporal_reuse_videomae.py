"""Configuration of a VideoMAE with temporal token reuse."""

import math
from typing import ClassVar

from transformers import PretrainedConfig, VideoMAEConfig

from ...reduction.base import ModelShape
from ..configuration_reuse import ReuseConfigMixin, shape_of


class TemporalReuseVideoMAEConfig(ReuseConfigMixin, VideoMAEConfig):
    """
    A `VideoMAEConfig` with the settings of reuse.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        kwargs: everything that `VideoMAEConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseVideoMAEConfig

    >>> config = TemporalReuseVideoMAEConfig(temporal_reuse={"compute_budget": 0.3})
    >>> config.num_frames, config.tubelet_size, config.temporal_reuse.representative
    (16, 2, 'spread')
    ```
    """

    model_type = "temporal_reuse_videomae"
    parent_model_type: ClassVar[str] = "videomae"
    parent_name: ClassVar[str] = "VideoMAE"
    temporal_reuse: dict | PretrainedConfig | None = None

    @property
    def window_frames(self) -> int:
        """See `ReuseConfigMixin.window_frames`."""
        return self.num_frames

    @property
    def tubelet_frames(self) -> int:
        """See `ReuseConfigMixin.tubelet_frames`."""
        return self.tubelet_size

    def model_shape(self, tokens: int | None = None) -> ModelShape:
        """See `ReuseConfigMixin.model_shape`."""
        times = self.num_frames // self.tubelet_size
        slots = times * math.prod(self.grid)
        # The first slot is protected where the head reads it.
        return shape_of(self, tokens or slots, int(not self.use_mean_pooling), times)


__all__ = ["TemporalReuseVideoMAEConfig"]
