"""What all methods of reduction share: strict settings, a register of their names, and what they are shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeVar

import torch

from ..checks import first_line
from .rows import RowChange, RowSets


@dataclass(frozen=True)
class ModelShape:
    """
    What a method may know of the model that it is to work in.

    Attributes:
        name (`str`): what people call the model.
        layers (`int`): transformer layers.
        tokens (`int`): tokens that attend to one another: of a frame, or of a window.
        hidden_size (`int`): numbers of a row.
        heads, key_size (`int`): of attention, and numbers of a key in one head.
        protected (`int`): tokens in front that are never merged or left out: CLS, registers, what the head reads.
        times (`int`): times in a window; 1 where frames are seen one by one.
    """

    name: str
    layers: int
    tokens: int
    hidden_size: int
    heads: int
    key_size: int
    protected: int
    times: int = 1

    @property
    def has_first_token(self) -> bool:
        """Whether there is a token in front that looks at all others, so that its attention tells what matters."""
        return self.protected > 0

    @property
    def half(self) -> int:
        """Tokens that can be merged into others at once."""
        return (self.tokens - self.protected) // 2


@dataclass
class Observed:
    """
    What a layer shows of its rows. A method finds what it asked for in `needs`.

    Attributes:
        states (`torch.Tensor` of shape `(rows, hidden_size)`): after attention and its residual sum.
        sizes (`torch.FloatTensor` of shape `(rows,)`): how many tokens each row stands for.
        weights (`torch.FloatTensor` of shape `(rows,)`, *optional*): the sum of the weights (`RowChange.weights`) of
            all that became each row; `sizes` as long as no method gave any.
        keys (`torch.Tensor` of shape `(rows, head_dim)`, *optional*): mean over heads.
        importance (`torch.FloatTensor` of shape `(rows,)`, *optional*): attention that each row receives among the
            rows of its set, from the first token where there is one, else from all; mean over heads.
        sharpness (`torch.FloatTensor` of shape `(rows,)`, *optional*): sum of a log(a) over the attention that each
            row gives to the rows of its set, each counted once, where a is the mean over heads: 0 for all attention on
            one of them.
    """

    states: torch.Tensor
    sizes: torch.Tensor
    keys: torch.Tensor | None = None
    importance: torch.Tensor | None = None
    sharpness: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class Reduction(ABC):
    """
    A method that makes fewer rows of many; its fields are its settings. It knows nothing of models.

    Attributes:
        method (`str`): its name in configs.
        paper (`str`): where it comes from.
    """

    method: ClassVar[str]
    paper: ClassVar[str] = ""

    def require(self, name: str, condition: bool, allowed: str) -> None:
        """Raises a `ValueError` of one sentence unless the condition holds."""
        if not condition:
            value = getattr(self, name)
            raise ValueError(f"reduction {self.method!r}: {name} is {value!r}, but must be {allowed}.")

    def freeze(self, name: str) -> None:
        """Makes a tuple of a setting that is a list."""
        value = getattr(self, name)
        if isinstance(value, list):
            object.__setattr__(self, name, tuple(value))

    @property
    def is_idle(self) -> bool:
        """Whether it can never do anything."""
        return False

    @abstractmethod
    def check(self, model: ModelShape) -> None:
        """
        Makes sure that the settings fit a model.

        Raises:
            ValueError: one sentence that names the setting, its value and what is allowed.
        """

    def to_dict(self) -> dict[str, Any]:
        """Method and settings, as they stand in a config."""
        settings: dict[str, Any] = asdict(self)  # type: ignore[call-overload]
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        return {"method": self.method, **listed}


class LayerReduction(Reduction):
    """
    A method that works in the layers, between attention and MLP.

    Attributes:
        needs (`frozenset[str]`): the optional fields of `Observed` that it looks at.
        prunes (`bool`): whether rows that it removes are left out; otherwise they are merged.
        proportional_attention (`bool`): whether a row counts in attention as often as it has tokens.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    prunes: ClassVar[bool] = False
    proportional_attention: bool = True

    @abstractmethod
    def removed(self, layer: int, count: int, initial: int, model: ModelShape) -> int:
        """
        How many rows of a set a layer removes: known before anything is computed, as shapes depend on it.

        Args:
            layer (`int`): number of the layer.
            count (`int`): rows of the set in this layer.
            initial (`int`): rows of the set in the first layer, less than `model.tokens` where others are reused.
            model: the model.
        """

    @abstractmethod
    def change(self, layer: int, sets: RowSets, removed: list[int], observed: Observed, protected: int) -> RowChange:
        """
        Decides.

        Args:
            layer (`int`): number of the layer.
            sets: the rows.
            removed (`list[int]`): how many rows of each set have to go.
            observed: what the layer shows.
            protected (`int`): rows in front of each set that have to stay as they are.
        """

    def multiply_adds(self, count: int, model: ModelShape) -> int:
        """What deciding on a set of `count` rows costs, beside what it is shown."""
        return 0


@dataclass
class FrameMerge:
    """
    Which rows of the frames of a call become one.

    Attributes:
        targets (`torch.LongTensor` of shape `(rows,)`): the row of its stream that each one is merged into, or itself;
            a target is never merged.
        multiply_adds (`list[int]`): what finding that cost, for each stream.
    """

    targets: torch.Tensor
    multiply_adds: list[int]


class FrameReduction(Reduction):
    """A method that works across the frames of a call, before the first layer, on what is computed of them."""

    @abstractmethod
    def merge(self, rows: torch.Tensor, frames: RowSets, streams: int, protected: int) -> FrameMerge:
        """
        Decides.

        Args:
            rows (`torch.Tensor` of shape `(rows, hidden_size)`): embeddings of what is computed.
            frames: the rows of each frame, ordered by stream and time.
            streams (`int`): how many streams there are, of as many frames each.
            protected (`int`): rows in front of each frame that have to stay as they are.
        """


class WindowReduction(Reduction):
    """A method that works on the pixels of a window, before anything is computed."""

    @abstractmethod
    def sources(self, pixels: torch.Tensor, patch_size: tuple[int, int, int]) -> torch.Tensor:
        """
        Which token stands for each slot.

        Args:
            pixels (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): the windows.
            patch_size (`tuple[int, int, int]`): frames, rows and columns of pixels in a patch.

        Returns:
            `torch.LongTensor` of shape `(batch, times, positions)`: the time of the token of the same position that
            stands for the slot, and for itself.
        """


UNKNOWN = "there is no reduction"
"""Begins what is said of a method that nobody registered."""

AnyReduction = TypeVar("AnyReduction", bound=type[Reduction])
_METHODS: dict[str, type[Reduction]] = {}


def register_reduction(method: AnyReduction) -> AnyReduction:
    """
    Makes a method known by its name; a decorator. A class that is defined again, as by a cell of a notebook that runs
    again, takes the place of what it was.

    Raises:
        ValueError: if another class has the name.
    """
    known = _METHODS.get(method.method)
    if known is not None and (known.__module__, known.__qualname__) != (method.__module__, method.__qualname__):
        raise ValueError(
            f"there is a reduction named {method.method!r} already, {known.__module__}.{known.__qualname__}; give "
            f"{method.__module__}.{method.__qualname__} another name."
        )
    _METHODS[method.method] = method
    return method


def as_reduction(value: Any) -> Reduction:
    """
    A method out of the dict that stands in a config.

    Raises:
        ValueError: if the method or one of its settings is not known; one sentence.
    """
    if isinstance(value, Reduction):
        return value
    names = ", ".join(map(repr, sorted(_METHODS)))
    if not isinstance(value, Mapping) or "method" not in value:
        raise ValueError(f"a reduction is {value!r}, but must be a dict with its 'method', one of {names}.")
    settings = dict(value)
    name = settings.pop("method")
    if not isinstance(name, str) or name not in _METHODS:
        raise ValueError(
            f"{UNKNOWN} {name!r}; import the module that defines it (in Python import, on the command line --import "
            f"MODULE), or take one of {names}."
        )
    kind = _METHODS[name]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(settings.keys() - set(known))
    if unknown:
        raise ValueError(
            f"reduction {name!r} has no setting {', '.join(map(repr, unknown))}; its settings are {', '.join(known)}."
        )
    try:
        return kind(**settings)
    except TypeError as error:  # a method or a setting is missing
        raise ValueError(f"reduction {name!r} cannot be made ({first_line(error)}).") from error


def as_reductions(value: Any) -> list[Reduction]:
    """The methods of a config: a list of them, one alone, or `None`."""
    if value is None:
        return []
    many = [value] if isinstance(value, (Reduction, Mapping)) else value
    if isinstance(many, str) or not isinstance(many, Iterable):
        raise ValueError(f"temporal_reuse.reduction is {value!r}, but must be a list of methods.")
    return [as_reduction(entry) for entry in many]
