"""Configuration of a VideoPrism with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, VideoPrismVisionConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseVideoPrismVisionConfig(ReuseConfigMixin, VideoPrismVisionConfig):
    """
    A `VideoPrismVisionConfig` with the settings of reuse.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        kwargs: everything that `VideoPrismVisionConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseVideoPrismVisionConfig

    >>> config = TemporalReuseVideoPrismVisionConfig(temporal_reuse={"compute_budget": 0.3})
    >>> config.num_frames, config.tubelet_size, config.temporal_reuse.mode
    (16, (1, 18, 18), 'bidirectional')
    ```
    """

    model_type = "temporal_reuse_videoprism_vision_model"
    parent_model_type: ClassVar[str] = "videoprism_vision_model"
    parent_name: ClassVar[str] = "VideoPrism"
    # Its frames are planned one by one, though it is handed a window of them.
    plans_windows: ClassVar[bool] = False  # type: ignore[misc]
    temporal_reuse: dict | PretrainedConfig | None = None

    @property
    def window_frames(self) -> int:
        """See `ReuseConfigMixin.window_frames`."""
        return self.num_frames

    @property
    def reuse_layers(self) -> int:
        """See `ReuseConfigMixin.reuse_layers`."""
        return self.num_spatial_layers


__all__ = ["TemporalReuseVideoPrismVisionConfig"]
