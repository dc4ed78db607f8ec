"""What the configs of all models with reuse share."""

from __future__ import annotations

import math
import os
from typing import Any, ClassVar, TypeVar

from transformers import PreTrainedConfig

from ..checks import height_and_width, is_number, is_whole
from ..configuration import TemporalReuseConfig, as_temporal_reuse_config, default_threshold
from ..hub.remote_code import StaysInPackage, auto_map, is_own, without_code, write_loader
from ..reduction.base import ModelShape, Reduction
from .register import MODELS


Config = TypeVar("Config", bound="ReuseConfigMixin")

MOST = {
    "num_hidden_layers": 2**10,
    "num_spatial_layers": 2**10,
    "num_temporal_layers": 2**10,
    "num_auxiliary_layers": 2**10,
    "hidden_size": 2**16,
    "intermediate_size": 2**19,
    "num_register_tokens": 2**10,
    "num_attention_heads": 2**10,
    "num_channels": 2**10,
    "num_patches": 2**17,
    "image_size": 2**13,
    "patch_size": 2**13,
    "num_frames": 2**13,
    "tubelet_size": 2**13,
    "decoder_num_hidden_layers": 2**10,
    "decoder_hidden_size": 2**16,
    "decoder_intermediate_size": 2**19,
    "in_chans": 2**10,
    "crop_size": 2**13,
    "frames_per_clip": 2**13,
    "num_pooler_layers": 2**10,
    "pooler_output_size": 2**16,
    "pred_hidden_size": 2**16,
    "pred_num_attention_heads": 2**10,
    "pred_num_hidden_layers": 2**10,
    "pred_num_mask_tokens": 2**10,
}
"""The largest sizes that a config.json may ask for: many times those of the largest models that there are."""

MAY_BE_0 = ("num_register_tokens", "num_auxiliary_layers")

MOST_RATIO = 2**6
"""By how much the hidden layer of an MLP may be wider, where a config has that for a number."""

MOST_LABELS = 2**20
MOST_TOKENS = 2**17
"""Tokens that attend to one another."""

MOST_POSITION_NUMBERS = 2**25
"""Numbers of the position embeddings of a window, which are made one by one."""


class ReuseConfigMixin(StaysInPackage):
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
    auto_map: dict[str, str]
    temporal_reuse: Any
    image_size: Any
    # What generic tools, such as transformers' Trainer, leave out of the predictions.
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "reuse", "frame_logits"]

    def __post_init__(self, **kwargs: Any) -> None:
        self.temporal_reuse = as_temporal_reuse_config(self.temporal_reuse)
        # What is there may name the parent's, in a config inside of another one's config.json.
        kwargs.pop("model_type", None)
        super().__post_init__(**kwargs)  # type: ignore[misc]
        if is_own(type(self)):
            # What is there may name a model that was derived from one of this package.
            self.auto_map = {**self._own_auto_map(), **(getattr(self, "auto_map", None) or {})}
        self.active_reductions(self.temporal_reuse)

    @property
    def window_frames(self) -> int | None:
        """How many frames the model sees at once; `None` for one that looks at frames one by one."""
        return None

    @property
    def plans_windows(self) -> bool:
        """Whether the tokens of a window are planned together, as they all attend to one another."""
        return self.window_frames is not None

    @property
    def reuse_layers(self) -> int:
        """How many layers the part has in which tokens are reused."""
        return int(self.vision.num_hidden_layers)

    @property
    def frame_size(self) -> tuple[int, int]:
        """Height and width of the frames that the model was trained with, in pixels."""
        return height_and_width(self.image_size)

    @property
    def patch_shape(self) -> tuple[int, int]:
        """Height and width of a patch, in pixels."""
        tubelet = getattr(self, "tubelet_size", None)
        if isinstance(tubelet, (list, tuple)):
            _, height, width = tubelet
            return height, width
        return height_and_width(self.vision.patch_size)

    @property
    def tubelet_frames(self) -> int:
        """Frames of the same place that become one token."""
        return 1

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches in a frame of the size that the model was trained with."""
        (height, width), (rows, columns) = self.frame_size, self.patch_shape
        return height // rows, width // columns

    @property
    def threshold_in_force(self) -> float | None:
        """The error up to which tokens are reused; `None` in mode "off", and where a budget alone decides."""
        settings = self.temporal_reuse
        if settings.mode == "off" or (settings.threshold is None and settings.compute_budget is not None):
            return None
        return settings.effective_threshold(default_threshold(self.plans_windows))

    @property
    def vision(self) -> Any:
        """The config of the part that sees: this one, or one in it."""
        return getattr(self, "vision_config", self)

    @property
    def prefix_tokens(self) -> int:
        """Tokens in front of the patches of a frame, or of a window: CLS, registers and the like."""
        return 0

    def model_shape(self, tokens: int | None = None) -> ModelShape:
        """
        What methods of reduction may know of the model.

        Args:
            tokens (`int`, *optional*): tokens that attend to one another, where frames are of another size.
        """
        return shape_of(self, tokens or self.prefix_tokens + math.prod(self.grid), self.prefix_tokens)

    def active_reductions(self, settings: TemporalReuseConfig) -> list[Reduction]:
        """
        The methods that do anything in the model, after a look at whether it can be run with such settings at all.

        Args:
            settings: its own, or those of a call.

        Raises:
            ValueError: if it cannot; one sentence.
        """
        return settings.active_reductions(self.model_shape())

    @classmethod
    def from_parent_config(
        cls: type[Config],
        config: PreTrainedConfig,
        temporal_reuse: TemporalReuseConfig | dict[str, Any] | None = None,
    ) -> Config:
        """Returns the config of the same model with reuse."""
        settings = without_code(config.to_dict())
        for name in ("model_type", "architectures", "transformers_version"):
            settings.pop(name, None)
        if temporal_reuse is not None:
            settings["temporal_reuse"] = temporal_reuse
        result = cls(**settings)
        attention = {name: getattr(config, name)._attn_implementation for name in config.sub_configs}
        result._attn_implementation = {"": config._attn_implementation, **attention}  # type: ignore[attr-defined]
        return result

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """
        Reads a config.json; that of the plain parent, or of a model that this one is the part of that sees, is taken
        as one of this class.

        Raises:
            ValueError: if the checkpoint is of another kind.
        """
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)  # type: ignore[misc]
        model_type = config_dict.get("model_type")
        if model_type in cls._types_of_wholes():
            part = {**(config_dict.get("vision_config") or {}), "model_type": cls.model_type}
            part.update({name: config_dict[name] for name in _SHARED if config_dict.get(name) is not None})
            config_dict = without_code(part)
            config_dict.pop("architectures", None)
        elif model_type == cls.parent_model_type:
            config_dict = {**without_code(config_dict), "model_type": cls.model_type}
            config_dict.pop("architectures", None)
        elif model_type not in (cls.model_type, None):
            raise ValueError(
                f"'{pretrained_model_name_or_path}' is a {model_type!r} checkpoint, but temporal reuse for "
                f"{cls.parent_name} takes checkpoints of type '{cls.parent_model_type}' or '{cls.model_type}'."
            )
        return config_dict, kwargs

    @classmethod
    def _types_of_wholes(cls) -> set[str]:
        """Types of the models with reuse whose part that sees has this config, and of their parents."""
        wholes = [entry.config for entry in MODELS.values() if issubclass(entry.config, CompositeReuseConfigMixin)]
        wholes = [whole for whole in wholes if issubclass(cls, whole.sub_configs["vision_config"])]
        return {name for whole in wholes for name in (whole.model_type, whole.parent_model_type)}

    @classmethod
    def from_dict(cls: type[Config], config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """
        Makes a config of the content of a config.json, in which kernels of others have no place.

        Args:
            config_dict (`dict[str, Any]`): the content.
            kwargs: settings that override it, and `return_unused_kwargs`.

        Raises:
            ValueError: if it asks for a model of a size that none has, which would take all memory before its weights
                are seen; one sentence.
        """
        sees_windows = issubclass(cls, WindowConfigMixin)
        _check_sizes(config_dict, getattr(cls, "tubelet_size", 1) if sees_windows else None)
        # Models derived from those here say in `auto_map` where their class is.
        own = {"auto_map": config_dict["auto_map"]} if "auto_map" in config_dict else {}
        return super().from_dict({**without_code(config_dict), **own}, **kwargs)  # type: ignore[misc]

    def forget_foreign_code(self) -> None:
        """
        Leaves out what names code, a repository or a kernel, other than this package.

        A model of this package calls it before it is saved: its checkpoint leads to no code of others, wherever its
        weights came from.
        """
        _forget_code(self)
        if is_own(type(self)):
            self.auto_map = self._own_auto_map()

    def _own_auto_map(self) -> dict[str, str]:
        entry = MODELS.get(self.model_type)
        return {} if entry is None else auto_map(entry.auto_classes)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> None:
        """
        Saves the config, and beside it the module that finds this package where it was not imported.

        Args:
            save_directory (`str` or `os.PathLike`): the folder; it is made if need be.
            push_to_hub (`bool`): whether to upload the two files to the Hub as well.
            kwargs: the arguments of `push_to_hub`; `repo_id` is the name of the folder by default.
        """
        super().save_pretrained(save_directory)  # type: ignore[misc]
        if is_own(type(self)):
            write_loader(save_directory)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", os.path.basename(os.path.abspath(save_directory)))
            self.push_to_hub(repo_id, **kwargs)  # type: ignore[attr-defined]


_SHARED = ("temporal_reuse", "num_frames")
"""Settings of a composite config that are those of its part that sees."""


class CompositeReuseConfigMixin(ReuseConfigMixin):
    """
    In front of the parent's config class, where that holds one for the part that sees, its `vision_config`.

    The subclass declares the fields `temporal_reuse` and `num_frames`, both `None` by default, and names in
    `sub_configs_defaults` a config with reuse for that part. The two settings are those of the part: what is set in
    the whole is set there, and what a new part has is set in the whole.
    """

    num_frames: Any
    vision_config: Any
    sub_configs: ClassVar[dict[str, Any]]

    def __post_init__(self, **kwargs: Any) -> None:
        vision_class, vision = self.sub_configs["vision_config"], self.vision_config
        if isinstance(vision, PreTrainedConfig) and not isinstance(vision, vision_class):
            self.vision_config = vision = vision_class.from_parent_config(vision)
        for name in _SHARED:
            if getattr(self, name) is None:
                setattr(self, name, vision.get(name) if isinstance(vision, dict) else getattr(vision, name, None))
        if isinstance(vision, dict):
            self.vision_config = {name: value for name, value in vision.items() if name not in _SHARED}
        super().__post_init__(**kwargs)
        for name in _SHARED:
            if getattr(self, name) is None:
                setattr(self, name, getattr(self.vision_config, name))
            setattr(self.vision_config, name, getattr(self, name))

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        # transformers sets this when all fields are there.
        if not self.__dict__.get("_post_init_done"):
            return
        if name in _SHARED:
            setattr(self.vision_config, name, value)
        elif name == "vision_config" and isinstance(value, ReuseConfigMixin):
            for shared in _SHARED:
                super().__setattr__(shared, getattr(value, shared))

    @property
    def frame_size(self) -> tuple[int, int]:
        """See `ReuseConfigMixin.frame_size`."""
        size: tuple[int, int] = self.vision_config.frame_size
        return size

    @property
    def prefix_tokens(self) -> int:
        """See `ReuseConfigMixin.prefix_tokens`."""
        return int(self.vision_config.prefix_tokens)


class TextReuseConfigMixin(CompositeReuseConfigMixin):
    """
    The same for a parent that has a text tower too; the subclass declares the field `hypothesis_template`.

    It is what the labels were put into before the tower read them, of a model that holds what the tower made of them;
    `None` where the tower is there, or not needed.
    """

    hypothesis_template: Any

    def _own_auto_map(self) -> dict[str, str]:
        found, entry = super()._own_auto_map(), MODELS.get(self.model_type)
        if self.hypothesis_template is not None and entry is not None and entry.zero_shot is not None:
            found |= auto_map({"AutoModelForVideoClassification": entry.zero_shot.__name__})
        return found


def _forget_code(config: Any) -> None:
    """Leaves out of a config, and of those in it, what names code."""
    for name, value in list(vars(config).items()):
        if name in config.sub_configs and isinstance(value, PreTrainedConfig):
            _forget_code(value)
        elif not name.startswith("_") and name != "temporal_reuse":
            kept = without_code({name: value})
            setattr(config, name, kept[name]) if name in kept else delattr(config, name)


class WindowConfigMixin(ReuseConfigMixin):
    """The same for a model in which all tokens of a window attend to one another."""

    num_frames: int
    tubelet_size: Any

    @property
    def window_frames(self) -> int:
        """See `ReuseConfigMixin.window_frames`."""
        return self.num_frames

    @property
    def tubelet_frames(self) -> int:
        """See `ReuseConfigMixin.tubelet_frames`."""
        size = self.tubelet_size
        return int(size[0] if isinstance(size, (list, tuple)) else size)

    @property
    def protected_tokens(self) -> int:
        """Tokens in front that no method of reduction may touch."""
        return self.prefix_tokens

    def model_shape(self, tokens: int | None = None) -> ModelShape:
        """See `ReuseConfigMixin.model_shape`."""
        times = self.window_frames // self.tubelet_frames
        every = self.prefix_tokens + times * math.prod(self.grid)
        return shape_of(self, tokens or every, self.protected_tokens, times)


def _check_sizes(settings: dict[str, Any], usual_tubelet: Any) -> None:
    """
    Refuses sizes that no model has, before anything is made of that size.

    Args:
        settings: the content of a config.json.
        usual_tubelet: the size of a tubelet where it says nothing of that; `None` for a model of single frames.
    """
    for name, part in settings.items():
        if name.endswith(("_config", "_config_dict")) and isinstance(part, dict):
            _check_sizes(part, usual_tubelet)
    for name, most in MOST.items():
        value, least = settings.get(name), int(name not in MAY_BE_0)
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if number is not None and not (is_whole(number) and least <= number <= most):
                raise ValueError(
                    f"the config has {name} {number!r}, but it must be a whole number from {least} to {most}."
                )
    for name in ("mlp_ratio", "pred_mlp_ratio"):
        ratio = settings.get(name)
        if ratio is not None and not (is_number(ratio) and 0 < ratio <= MOST_RATIO):
            raise ValueError(f"the config has {name} {ratio!r}, but it must be above 0 and at most {MOST_RATIO}.")
    if len(settings.get("id2label") or ()) > MOST_LABELS or (settings.get("num_labels") or 0) > MOST_LABELS:
        raise ValueError(f"the config has more than {MOST_LABELS} labels, and is of no model.")
    sees_windows, patch_size = usual_tubelet is not None, settings.get("patch_size")
    tubelet = settings.get("tubelet_size") or usual_tubelet or 1
    if isinstance(tubelet, (list, tuple)):
        tubelet, *patch_size = tubelet
    size, patch = (
        max(value) if value and isinstance(value, (list, tuple)) else value or default
        for value, default in ((settings.get("image_size") or settings.get("crop_size"), 224), (patch_size, 16))
    )
    frames = settings.get("num_frames") or settings.get("frames_per_clip") or 1
    tokens = (size // patch) ** 2 * (-(-frames // tubelet) if sees_windows else 1)
    numbers = tokens * (settings.get("hidden_size") or 1)
    if tokens > MOST_TOKENS or (sees_windows and numbers > MOST_POSITION_NUMBERS):
        raise ValueError(f"the config asks for {tokens} tokens that attend to one another, which no model has.")


def shape_of(config: Any, tokens: int, protected: int, times: int = 1) -> ModelShape:
    """What methods of reduction may know of a model with this config, whose heads share its hidden size."""
    vision = config.vision
    heads = vision.num_attention_heads
    key_size = getattr(vision, "head_dim", None) or vision.hidden_size // heads
    return ModelShape(
        config.parent_name, config.reuse_layers, tokens, vision.hidden_size, heads, key_size, protected, times
    )
