"""Configuration of a DINOv2 with registers with temporal token reuse."""

from typing import ClassVar

from transformers import Dinov2WithRegistersConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseDinov2WithRegistersConfig(ReuseConfigMixin, Dinov2WithRegistersConfig):
    """
    A `Dinov2WithRegistersConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `Dinov2WithRegistersConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseDinov2WithRegistersConfig

    >>> config = TemporalReuseDinov2WithRegistersConfig(temporal_reuse={"mode": "causal"})
    >>> config.prefix_tokens, config.temporal_reuse.mode
    (5, 'causal')
    ```
    """

    model_type = "temporal_reuse_dinov2_with_registers"
    parent_model_type: ClassVar[str] = "dinov2_with_registers"
    parent_name: ClassVar[str] = "DINOv2 with registers"

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16

    @property
    def prefix_tokens(self) -> int:
        """See `ReuseConfigMixin.prefix_tokens`: CLS and the registers."""
        return 1 + self.num_register_tokens


__all__ = ["TemporalReuseDinov2WithRegistersConfig"]
