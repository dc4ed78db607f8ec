"""How the attention modules and layers of any model of transformers run where tokens are reused."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.vit.modeling_vit import eager_attention_forward
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from ..execution.packed import Attention
from ..reduction.row_reduction import RowReduction


NAME = "temporal_reuse"
"""Of the attention function that the attention modules of a running layer find."""


@dataclass
class LayerRun(ABC):
    """
    One layer of one call with reuse: what its attention module and its attention function need to know.

    Attributes:
        number (`int`): of the layer.
        reduction (`RowReduction`, *optional*): what merges rows, or leaves some out, between attention and MLP.
    """

    number: int
    reduction: RowReduction | None

    @property
    def selects(self) -> bool:
        """Whether outputs are wanted for some of the rows alone."""
        return False

    def select(self, states: torch.Tensor) -> torch.Tensor:
        """The rows for which outputs are wanted."""
        return states

    @abstractmethod
    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Where rows meet; the arguments, and what it returns, are those of transformers' attention interface."""


_RUNNING: ContextVar[LayerRun | None] = ContextVar("hf_ttr_running", default=None)


@contextmanager
def running(run: LayerRun | None) -> Iterator[None]:
    """Inside, attention modules and layers with reuse do as the run says; with `None`, as their parents."""
    token = _RUNNING.set(run)
    try:
        yield
    finally:
        _RUNNING.reset(token)


def is_running() -> bool:
    """Whether a layer runs whose rows do not attend yet."""
    return _RUNNING.get() is not None


def attend_in_run(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The attention function of the interface: it hands on to the layer that runs."""
    run = _RUNNING.get()
    assert run is not None, "attention of a layer that does not run"
    kwargs["dropout"] = 0.0
    # What attends now is what the model was loaded with, which may look at the config.
    with running(None):
        return run.attend(module, query, key, value, attention_mask, scaling, **kwargs)


ALL_ATTENTION_FUNCTIONS.register(NAME, attend_in_run)


class _InRun:
    """A config that names the attention function of runs, and is the model's in everything else."""

    _attn_implementation = NAME

    def __init__(self, config: Any) -> None:
        self._config = config

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)


class ReuseAttention:
    """
    In front of an attention class of transformers; where no layer runs this is the parent.

    A module looks for its attention function in its config. Here that leads to the one of runs: for this thread and
    this call, so that one model serves many.

    Attributes:
        projections (`tuple[str, ...]`): names of the linear layers of queries, keys, values and, if there is one in
            the module, outputs.
        eager_attention: what stands for `"eager"`, where that of the parent leaves out the mask.
        positions_are_relative (`bool`): whether positions are told by turning queries and keys, and by nothing else.
            In a run the module leaves that to `place`: keys are remembered as they are, and may be placed anew.
    """

    projections: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj", "o_proj")
    eager_attention: ClassVar[Attention | None] = None
    positions_are_relative: ClassVar[bool] = False

    def place(self, states: torch.Tensor, slots: torch.Tensor | None) -> torch.Tensor:
        """
        Queries or keys, told where they are; only asked for where positions are relative.

        Args:
            states (`torch.Tensor` of shape `(layout, heads, rows, head_dim)`): of rows of a window.
            slots (`torch.LongTensor` of shape `(layout, rows)`, *optional*): the slot of each; `None` for all slots,
                in order.
        """
        return states

    @property
    def config(self) -> Any:
        """The model's; in a run, one that leads the parent's code to the attention of the run."""
        own = self.__dict__["config"]
        return own if _RUNNING.get() is None else _InRun(own)

    @config.setter
    def config(self, value: Any) -> None:
        self.__dict__["config"] = value

    @property
    def attention(self) -> Attention:
        """The attention function that the model was loaded with."""
        own, eager = self.__dict__["config"], self.eager_attention
        if eager is None:
            parents = (kind for kind in type(self).__mro__ if not issubclass(kind, ReuseAttention))
            sources = (sys.modules[kind.__module__] for kind in parents)
            eager = next(part.eager_attention_forward for part in sources if hasattr(part, "eager_attention_forward"))
        found: Attention = ALL_ATTENTION_FUNCTIONS.get_interface(own._attn_implementation, eager)
        return found

    @torch.compiler.disable
    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """As the parent's, on the rows of a run where there is one; compiled code leaves it alone."""
        run = _RUNNING.get()
        if run is None or not run.selects:
            return super().forward(hidden_states, *args, **kwargs)  # type: ignore[misc]
        # Outputs of few rows, keys and values of all: the parent has the same rows for both.
        module: Any = self
        queries, keys, values, outputs = (getattr(self, name) for name in self.projections)
        query, key, value = (
            part.unflatten(-1, (-1, module.head_dim)).transpose(1, 2)
            for part in (queries(run.select(hidden_states)), keys(hidden_states), values(hidden_states))
        )
        mask = args[0] if args else kwargs.get("attention_mask")
        key = self.turned(key, *args, **kwargs)
        output, weights = attend_in_run(self, query, key, value, mask, scaling=module.scaling)
        return outputs(output.flatten(-2)), weights

    def turned(self, keys: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """
        What rotary positions make of the keys of all rows, `(frames, heads, rows, head_dim)`.

        It is asked for where outputs are wanted for tokens in front alone; those, and their queries, are not turned.

        Args:
            keys: of the rows.
            args, kwargs: what the parent's `forward` takes beside hidden states.
        """
        return keys


class MaskedAttention(ReuseAttention):
    """The same for a class whose own eager attention leaves out the mask, and with it how often a row counts."""

    eager_attention = staticmethod(eager_attention_forward)


class ReuseLayer:
    """
    In front of a layer class of transformers, of two residual halves; where no layer runs this is the parent.

    Attributes:
        attention_half (`tuple[str, str, str | None]`): names of the norm, the attention and the scale of its output.
        attention_module (`str`, *optional*): where in the layer rows meet, if that is but a part of its attention.
        mlp_half (`tuple[str, str, str | None]`): names of the norm, the MLP and the scale of its output.
    """

    attention_half: ClassVar[tuple[str, str, str | None]] = ("layernorm_before", "attention", None)
    attention_module: ClassVar[str | None] = None
    mlp_half: ClassVar[tuple[str, str, str | None]] = ("layernorm_after", "mlp", None)

    @classmethod
    def attention_of(cls, layer: nn.Module) -> Any:
        """The module of a layer in which rows meet."""
        return layer.get_submodule(cls.attention_module or cls.attention_half[1])

    def forward(self, hidden_states: torch.Tensor, *args: Any, run: LayerRun | None = None, **kwargs: Any) -> Any:
        """
        As the parent's, on the rows of a run where there is one; rows may become fewer between the halves.

        Args:
            run (`LayerRun`, *optional*): the one inside which it is called: compiled code cannot look it up.
            (others): of the parent.
        """
        if run is None or (not run.selects and run.reduction is None):
            return super().forward(hidden_states, *args, **kwargs)  # type: ignore[misc]
        states = run.select(hidden_states) + self.attend(hidden_states, *args, **kwargs)
        if run.reduction is not None:
            states = run.reduction.reduce(run.number, states)
        return self.finish(states)

    def attend(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """What the first half adds to the rows for which outputs are wanted."""
        norm, attention, scale = parts_of(self, self.attention_half)
        output: Any = attention(norm(hidden_states), *args, **kwargs)
        return scaled(output[0] if isinstance(output, tuple) else output, scale)

    def finish(self, states: torch.Tensor) -> torch.Tensor:
        """The second half, of what the first one left."""
        norm, mlp, scale = parts_of(self, self.mlp_half)
        return states + scaled(mlp(norm(states)), scale)


def parts_of(layer: Any, names: tuple[str | None, ...]) -> list[Any]:
    """The parts of a layer by their names; `None` where there is none."""
    return [None if name is None else getattr(layer, name) for name in names]


def scaled(states: torch.Tensor, scale: Any) -> torch.Tensor:
    """What a layer scale, a module or a parameter, makes of a half's output."""
    if scale is None:
        return states
    result: torch.Tensor = scale(states) if isinstance(scale, nn.Module) else scale * states
    return result


def become(
    model: Any, layers: nn.ModuleList, layer_class: type[ReuseLayer], attention_class: type[ReuseAttention]
) -> None:
    """Layers are built by the parent and change class in place: what the parent did to them stays."""
    whole = set(model._no_split_modules or ())
    layer: Any
    for layer in layers:
        whole = {layer_class.__name__ if name == type(layer).__name__ else name for name in whole}
        layer_class.attention_of(layer).__class__ = attention_class
        layer.__class__ = layer_class
    # Classes that are not spread over devices.
    model._no_split_modules = whole


def become_encoder(model: Any, encoder_class: type[Any]) -> None:
    """The same for the part of a model with a head that has the layers: it becomes `encoder_class`."""
    encoder: Any = next(part for part in model.children() if issubclass(encoder_class, type(part)))
    before = set(encoder._no_split_modules or ())
    encoder.__class__ = encoder_class
    # What can be recorded of a class is noted where one is built, by its name; releases differ in how they look it up.
    dict.__setitem__(_CAN_RECORD_REGISTRY, str(encoder_class), encoder_class._can_record_outputs)
    encoder.adopt()
    model._no_split_modules = set(model._no_split_modules or ()) - before | encoder._no_split_modules
