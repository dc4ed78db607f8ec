"""Pruning: in a few layers, the rows that matter least are left out."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

import torch

from ..checks import is_number, is_whole
from .base import LayerReduction, ModelShape, Observed, register_reduction
from .rows import RowChange, RowSets, first_of_each


CRITERIA = ("attention", "random")


@register_reduction
@dataclass(frozen=True)
class Pruning(LayerReduction):
    """
    Leaves rows out, without training.

    By attention (Liang et al., EViT, ICLR 2022): rows to which the first token pays least attention, or, in a model
    that pools over all tokens, those that receive least from all others. At random: what any choice must beat.

    Args:
        keep (`float`, defaults to 0.7):
            Share of the rows that each of the layers keeps, in (0, 1].
        layers (`list[int]`, *optional*):
            Numbers of these layers; by default those at a quarter, half and three quarters of the model.
        by (`str`, defaults to `"attention"`):
            `"attention"` or `"random"`.
        seed (`int`, defaults to 0):
            For `"random"`.

    Example:

    ```python
    >>> from hf_ttr.reduction import Pruning

    >>> Pruning(keep=0.5).chosen_layers(12)
    (3, 6, 9)
    ```
    """

    method: ClassVar[str] = "pruning"
    paper: ClassVar[str] = "Liang et al., EViT, ICLR 2022"
    prunes: ClassVar[bool] = True

    keep: float = 0.7
    layers: tuple[int, ...] | None = None
    by: str = "attention"
    seed: int = 0

    def __post_init__(self) -> None:
        self.freeze("layers")
        self.require("keep", is_number(self.keep) and 0 < self.keep <= 1, "a share of the rows above 0 and at most 1")
        self.require(
            "layers",
            self.layers is None or (isinstance(self.layers, tuple) and all(map(_is_layer, self.layers))),
            "a list of numbers of layers, counted from 0, or None",
        )
        self.require("by", self.by in CRITERIA, f"one of {', '.join(map(repr, CRITERIA))}")
        self.require("seed", is_whole(self.seed), "a whole number")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """See `LayerReduction`."""
        return frozenset({"importance"}) if self.by == "attention" else frozenset()

    @property
    def is_idle(self) -> bool:
        """Whether everything is kept."""
        return self.keep == 1 or self.layers == ()

    def chosen_layers(self, layers: int) -> tuple[int, ...]:
        """The layers that leave rows out, in a model of so many layers."""
        if self.layers is not None:
            return self.layers
        return tuple(sorted({layers // 4, layers // 2, 3 * layers // 4}))

    def check(self, model: ModelShape) -> None:
        """See `Reduction.check`."""
        last = model.layers - 1
        self.require(
            "layers",
            all(layer <= last for layer in self.chosen_layers(model.layers)),
            f"layers of the model, 0 to {last}",
        )

    def removed(self, layer: int, count: int, initial: int, model: ModelShape) -> int:
        """See `LayerReduction.removed`."""
        if layer not in self.chosen_layers(model.layers):
            return 0
        free = max(count - model.protected, 0)
        return free - ceil(self.keep * free)

    def change(self, layer: int, sets: RowSets, removed: list[int], observed: Observed, protected: int) -> RowChange:
        """See `LayerReduction.change`."""
        if self.by == "attention":
            assert observed.importance is not None
            scores = observed.importance
        else:
            # The same in every set, so that a frame is treated alike in any batch.
            generator = torch.Generator("cpu").manual_seed(self.seed + layer)
            order = torch.rand(max(sets.counts), generator=generator, dtype=torch.float32, device="cpu")
            scores = torch.cat([order[:count] for count in sets.counts]).to(sets.device)
        none = torch.zeros(0, dtype=torch.long, device=sets.device)
        return RowChange(none, none, left_out=lowest(scores, sets, removed, protected))


def lowest(scores: torch.Tensor, sets: RowSets, counts: list[int], protected: int) -> torch.Tensor:
    """
    The rows of lowest score.

    Args:
        scores (`torch.FloatTensor` of shape `(rows,)`): of all rows.
        sets: the sets.
        counts (`list[int]`): for each set, how many rows are wanted.
        protected (`int`): rows in front of each set that are never chosen.

    Returns:
        `torch.LongTensor` of shape `(sum of counts,)`.
    """
    chosen = [torch.zeros(0, dtype=torch.long, device=sets.device)]
    for group in sets.padded([number for number, count in enumerate(counts) if count]):
        wanted = [counts[number] for number in group.sets]
        values = scores[group.rows].masked_fill(~group.is_row, torch.inf)
        values[:, :protected] = torch.inf
        chosen.append(first_of_each(group.rows.gather(1, values.argsort(dim=-1, stable=True)), wanted))
    return torch.cat(chosen)


def _is_layer(value: Any) -> bool:
    return is_whole(value) and value >= 0
