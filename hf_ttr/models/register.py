"""The models with reuse that there are: everything else that needs to know one looks here."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.utils import is_vision_available

from ..hub.remote_code import StaysInPackage


def is_classifier(architecture: Any) -> bool:
    """Whether a name in the `architectures` of a config is of a class with a head for labels."""
    kinds = ("ForImageClassification", "ForVideoClassification", "ForZeroShotVideoClassification")
    return any(kind in str(architecture) for kind in kinds)


_AUTO_CLASSES: dict[str, Any] = {
    "base": AutoModel,
    "image_classifier": AutoModelForImageClassification,
    "video_classifier": AutoModelForVideoClassification,
}
"""What a class is for, and the Auto class that finds it."""


@dataclass(frozen=True)
class ReuseModel:
    """
    A kind of model with reuse.

    Attributes:
        config: its config class.
        base: the class without a head, if it has this config.
        image_classifier: the class that classifies the frames of streams, one call after another, if there is one.
        video_classifier: the class that classifies clips, if there is one.
        others: further classes, with heads of their own.
        zero_shot: the class that compares clips with texts, if there is one.
    """

    config: type[Any]
    base: type[PreTrainedModel] | None = None
    image_classifier: type[PreTrainedModel] | None = None
    video_classifier: type[PreTrainedModel] | None = None
    others: tuple[type[PreTrainedModel], ...] = ()
    zero_shot: type[PreTrainedModel] | None = None

    @property
    def classes(self) -> tuple[type[PreTrainedModel], ...]:
        """The model classes, that for clips before that for single frames."""
        found = (self.base, self.video_classifier, self.image_classifier, *self.others, self.zero_shot)
        return tuple(kind for kind in found if kind is not None)

    @property
    def auto_classes(self) -> dict[str, str]:
        """Names of Auto classes, and of the classes here that they choose."""
        found = {"AutoConfig": self.config.__name__}
        for use, auto in _AUTO_CLASSES.items():
            kind = getattr(self, use)
            if kind is not None:
                found[auto.__name__] = kind.__name__
        return found

    def reads_labels(self, config: dict[str, Any]) -> bool:
        """
        Whether a checkpoint has a text tower, so that its labels are still to be chosen.

        Args:
            config (`dict[str, Any]`): the content of its config.json.
        """
        kind = self.class_for(config.get("architectures"))
        return kind is not None and kind is self.zero_shot and config.get("hypothesis_template") is None

    def class_for(self, architectures: Any) -> type[PreTrainedModel] | None:
        """
        The class that classifies the videos of a checkpoint.

        Args:
            architectures: as in its config: a list of names of classes, of transformers or of those here, or anything.
        """
        if not isinstance(architectures, (list, tuple)):
            return self.video_classifier
        for kind in self.classes:
            if kind.__name__ in architectures:
                return kind
            if parent_of(kind).__name__ in architectures and getattr(kind, "takes_clips", False):
                return kind
        return self.video_classifier


MODELS: dict[str, ReuseModel] = {}
"""The models with reuse, by the type in their configs, in the order in which they were registered."""


def register_model(
    config: type[Any],
    *,
    base: type[PreTrainedModel] | None = None,
    image_classifier: type[PreTrainedModel] | None = None,
    video_classifier: type[PreTrainedModel] | None = None,
    others: tuple[type[PreTrainedModel], ...] = (),
    zero_shot: type[PreTrainedModel] | None = None,
) -> None:
    """
    Makes a kind of model known: to the Auto classes and pipelines, to `with_temporal_reuse`, and to every command.

    Checkpoints of the parent, under whatever names their weights have, load into the classes given here. A second call
    with the same classes changes nothing.

    Args:
        config: the config class, with a `model_type` of its own and the `parent_model_type` that it stands in for.
        base: the class without a head, if it has this config.
        image_classifier, video_classifier: the classes with one; see `ReuseModel`.
        others: further classes, with heads of their own.
        zero_shot: the class that compares clips with texts.

    Raises:
        TypeError: if something given is no class of the kind; one sentence.
        ValueError: if the type is taken, or no class is given; one sentence.
    """
    entry = ReuseModel(config, base, image_classifier, video_classifier, tuple(others), zero_shot)
    _check(entry)
    known = MODELS.get(config.model_type)
    if known is not None and _source(known.config) != _source(config):
        raise ValueError(
            f"there is a model of the type {config.model_type!r} already, of {known.config.__module__}; give "
            f"{config.__name__} a model_type of its own."
        )
    AutoConfig.register(config.model_type, config, exist_ok=True)
    for use, auto in _AUTO_CLASSES.items():
        kind = getattr(entry, use)
        if kind is not None:
            # Of several the Auto class takes the one that a config names, by default the first.
            kinds = (kind, zero_shot) if zero_shot is not None and use == "video_classifier" else kind
            auto.register(config, kinds, exist_ok=True)
    if is_vision_available():
        from ..video.processing import register_processors

        register_processors(config)
    # Old checkpoints have other names for their weights. transformers looks the new ones up by class, then by type,
    # and without them loads random weights.
    names = {config.model_type: config.parent_model_type}
    for kind in entry.classes:
        names[kind.__name__] = parent_of(kind).__name__
    for name, parent in names.items():
        mapping = get_checkpoint_conversion_mapping(parent)
        if mapping is not None:
            register_checkpoint_conversion_mapping(name, mapping, overwrite=True)
    MODELS[config.model_type] = entry


def parent_of(kind: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The class of transformers that a class with reuse stands in for."""
    return next(
        parent
        for parent in kind.__mro__
        if issubclass(parent, PreTrainedModel) and not issubclass(parent, StaysInPackage)
    )


def entry_for(model_type: Any) -> ReuseModel | None:
    """The model with reuse of this type, or that stands in for this type of transformers, if there is one."""
    if model_type in MODELS:
        return MODELS[model_type]
    found = [entry for entry in MODELS.values() if entry.config.parent_model_type == model_type]
    # A type of transformers may have two: one that replaces another comes later.
    return found[-1] if found else None


def stand_in_for(model: type) -> type[PreTrainedModel] | None:
    """The class with reuse that a class of transformers, or one derived from it, gets, if there is one."""
    for ancestor in model.__mro__:
        for entry in reversed(MODELS.values()):
            for kind in entry.classes:
                if ancestor in (kind, parent_of(kind)):
                    return kind
    return None


def classifier_types() -> dict[str, bool]:
    """Types of checkpoints that classify videos, and whether they are those of transformers."""
    found = [entry.config for entry in MODELS.values() if entry.video_classifier is not None]
    return {config.parent_model_type: True for config in found} | {config.model_type: False for config in found}


def classifier_names() -> str:
    """What people call the models that classify videos, for the middle of a sentence."""
    names = dict.fromkeys(entry.config.parent_name for entry in MODELS.values() if entry.video_classifier is not None)
    *first, last = sorted(names, key=str.lower)
    return f"{', '.join(first)} or {last}" if first else last


def _check(entry: ReuseModel) -> None:
    """Refuses what is no model with reuse."""
    from .configuration_reuse import ReuseConfigMixin

    config = entry.config
    if not (inspect.isclass(config) and issubclass(config, ReuseConfigMixin) and issubclass(config, PreTrainedConfig)):
        raise TypeError(f"{config!r} is no config of a model with reuse: ReuseConfigMixin, then the parent's config.")
    if config.model_type == config.parent_model_type:
        raise ValueError(
            f"{config.__name__} has the model_type of its parent, {config.model_type!r}; give it its own."
        )
    if not entry.classes:
        raise ValueError(f"no class was given for {config.__name__}: pass base, image_classifier or video_classifier.")
    for kind in entry.classes:
        if not (inspect.isclass(kind) and issubclass(kind, StaysInPackage) and issubclass(kind, PreTrainedModel)):
            raise TypeError(f"{kind!r} is no model with reuse: StaysInPackage, then a class of transformers.")


def _source(kind: type) -> tuple[str, str]:
    """What stays the same when a module is loaded twice, as with `--import` of a file."""
    return kind.__qualname__, inspect.getsourcefile(kind) or kind.__module__


__all__ = [
    "MODELS",
    "ReuseModel",
    "classifier_names",
    "classifier_types",
    "entry_for",
    "is_classifier",
    "parent_of",
    "register_model",
    "stand_in_for",
]
