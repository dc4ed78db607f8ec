"""Configuration of a DINOv2 with temporal token reuse."""

from typing import ClassVar

from transformers import Dinov2Config, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseDinov2Config(ReuseConfigMixin, Dinov2Config):
    """
    A `Dinov2Config` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `Dinov2Config` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseDinov2Config

    >>> config = TemporalReuseDinov2Config(temporal_reuse={"mode": "causal"})
    >>> config.prefix_tokens, config.temporal_reuse.mode
    (1, 'causal')
    ```
    """

    model_type = "temporal_reuse_dinov2"
    parent_model_type: ClassVar[str] = "dinov2"
    parent_name: ClassVar[str] = "DINOv2"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


__all__ = ["TemporalReuseDinov2Config"]
