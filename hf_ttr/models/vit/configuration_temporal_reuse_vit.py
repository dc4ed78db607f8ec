"""Configuration of a ViT with temporal token reuse."""

import os
from typing import Any

from transformers import PretrainedConfig, ViTConfig

from ...configuration import TemporalReuseConfig, as_temporal_reuse_config


class TemporalReuseViTConfig(ViTConfig):
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

    temporal_reuse: dict | PretrainedConfig | None = None
    num_frames: int = 16

    def __post_init__(self, **kwargs: Any) -> None:
        self.temporal_reuse = as_temporal_reuse_config(self.temporal_reuse)
        super().__post_init__(**kwargs)

    @classmethod
    def from_vit_config(
        cls, config: ViTConfig, temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None
    ) -> "TemporalReuseViTConfig":
        """Returns the config of the same ViT with reuse."""
        settings = config.to_dict()
        for name in ("model_type", "architectures", "transformers_version"):
            settings.pop(name, None)
        if temporal_reuse is not None:
            settings["temporal_reuse"] = temporal_reuse
        result = cls(**settings)
        result._attn_implementation = config._attn_implementation
        return result

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Reads a config.json; that of a plain ViT is taken as one of this class.

        Raises:
            ValueError: if the checkpoint is not a ViT.
        """
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        model_type = config_dict.get("model_type")
        if model_type == ViTConfig.model_type:
            config_dict = {**config_dict, "model_type": cls.model_type}
            config_dict.pop("architectures", None)
        elif model_type not in (cls.model_type, None):
            raise ValueError(
                f"'{pretrained_model_name_or_path}' is a {model_type!r} checkpoint, but temporal reuse for ViT takes "
                f"checkpoints of type 'vit' or '{cls.model_type}'."
            )
        return config_dict, kwargs


__all__ = ["TemporalReuseViTConfig"]
