"""Configuration of a BEiT with temporal token reuse."""

from typing import ClassVar

from transformers import BeitConfig, PretrainedConfig

from ..configuration_reuse import ReuseConfigMixin


class TemporalReuseBeitConfig(ReuseConfigMixin, BeitConfig):
    """
    A `BeitConfig` with the settings of reuse and the number of frames that a clip is sampled to.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        num_frames (`int`, defaults to 16): frames that pipelines take from a clip. The model itself takes any number.
        kwargs: everything that `BeitConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseBeitConfig

    >>> config = TemporalReuseBeitConfig(temporal_reuse={"compute_budget": 0.2})
    >>> config.temporal_reuse.mode, config.temporal_reuse.compute_budget
    ('bidirectional', 0.2)
    ```
    """

    model_type = "temporal_reuse_beit"
    parent_model_type: ClassVar[str] = "beit"
    parent_name: ClassVar[str] = "BEiT"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16


__all__ = ["TemporalReuseBeitConfig"]
