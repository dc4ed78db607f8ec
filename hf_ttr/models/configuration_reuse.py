"""What the configs of all models with reuse share."""

from __future__ import annotations

import os
from typing import Any, ClassVar, TypeVar

from transformers import PreTrainedConfig

from ..configuration import TemporalReuseConfig, as_temporal_reuse_config


Config = TypeVar("Config", bound="ReuseConfigMixin")


class ReuseConfigMixin:
    """
    In front of the parent's config class; the subclass declares the field `temporal_reuse`.

    Attributes:
        model_type (`str`): of the model with reuse.
        parent_model_type (`str`): of the model of transformers whose checkpoints are taken as they are.
        parent_name (`str`): what people call it.
    """

    model_type: ClassVar[Any]
    parent_model_type: ClassVar[str]
    parent_name: ClassVar[str]
    temporal_reuse: Any

    def __post_init__(self, **kwargs: Any) -> None:
        self.temporal_reuse = as_temporal_reuse_config(self.temporal_reuse)
        super().__post_init__(**kwargs)  # type: ignore[misc]

    @classmethod
    def from_parent_config(
        cls: type[Config],
        config: PreTrainedConfig,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
    ) -> Config:
        """Returns the config of the same model with reuse."""
        settings = config.to_dict()
        for name in ("model_type", "architectures", "transformers_version"):
            settings.pop(name, None)
        if temporal_reuse is not None:
            settings["temporal_reuse"] = temporal_reuse
        result = cls(**settings)
        result._attn_implementation = config._attn_implementation  # type: ignore[attr-defined]
        return result

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Reads a config.json; that of the plain parent is taken as one of this class.

        Raises:
            ValueError: if the checkpoint is of another kind.
        """
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)  # type: ignore[misc]
        model_type = config_dict.get("model_type")
        if model_type == cls.parent_model_type:
            config_dict = {**config_dict, "model_type": cls.model_type}
            config_dict.pop("architectures", None)
        elif model_type not in (cls.model_type, None):
            raise ValueError(
                f"'{pretrained_model_name_or_path}' is a {model_type!r} checkpoint, but temporal reuse for "
                f"{cls.parent_name} takes checkpoints of type '{cls.parent_model_type}' or '{cls.model_type}'."
            )
        return config_dict, kwargs
