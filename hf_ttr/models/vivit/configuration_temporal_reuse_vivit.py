"""Configuration of a ViViT with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, VivitConfig

from ..configuration_reuse import WindowConfigMixin


class TemporalReuseVivitConfig(WindowConfigMixin, VivitConfig):
    """
    A `VivitConfig` with the settings of reuse.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        kwargs: everything that `VivitConfig` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseVivitConfig

    >>> config = TemporalReuseVivitConfig(temporal_reuse={"compute_budget": 0.3})
    >>> config.num_frames, config.tubelet_size, config.temporal_reuse.representative
    (32, (2, 16, 16), 'spread')
    ```
    """

    model_type = "temporal_reuse_vivit"
    parent_model_type: ClassVar[str] = "vivit"
    parent_name: ClassVar[str] = "ViViT"
    prefix_tokens: ClassVar[int] = 1  # type: ignore[misc]
    temporal_reuse: dict | PretrainedConfig | None = None


__all__ = ["TemporalReuseVivitConfig"]
