"""Configuration of a V-JEPA 2 with temporal token reuse."""

from typing import ClassVar

from transformers import PretrainedConfig, VJEPA2Config

from ..configuration_reuse import WindowConfigMixin


class TemporalReuseVJEPA2Config(WindowConfigMixin, VJEPA2Config):
    """
    A `VJEPA2Config` with the settings of reuse, and the names that other models have for its sizes.

    Args:
        temporal_reuse (`TemporalReuseConfig` or `dict`, *optional*): how tokens are chosen; the defaults if left out.
        kwargs: everything that `VJEPA2Config` takes.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseVJEPA2Config

    >>> config = TemporalReuseVJEPA2Config(frames_per_clip=16, temporal_reuse={"compute_budget": 0.3})
    >>> config.num_frames, config.num_channels, config.image_size
    (16, 3, 256)
    ```
    """

    model_type = "temporal_reuse_vjepa2"
    parent_model_type: ClassVar[str] = "vjepa2"
    parent_name: ClassVar[str] = "V-JEPA 2"
    attribute_map: ClassVar[dict[str, str]] = {
        "image_size": "crop_size",
        "num_channels": "in_chans",
        "num_frames": "frames_per_clip",
    }
    temporal_reuse: dict | PretrainedConfig | None = None


__all__ = ["TemporalReuseVJEPA2Config"]
