"""Configuration of a VideoMAE with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, VideoMAEConfig

from ..configuration_reuse import WindowConfigMixin


class TemporalReuseVideoMAEConfig(WindowConfigMixin, VideoMAEConfig):
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
    def protected_tokens(self) -> int:
        """See `WindowConfigMixin.protected_tokens`; the first slot where the head reads it."""
        return int(not self.use_mean_pooling)


__all__ = ["TemporalReuseVideoMAEConfig"]
