"""Merging in the first layers, where what hardly attends to anything in particular gives way to what does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..checks import is_whole
from .base import LayerReduction, ModelShape, Observed, register_reduction
from .rows import RowChange, RowSets, padded_size
from .tome import match, share_of


SHARES = (600 / 2352, 200 / 2352, 100 / 2352)
"""Of the tokens of a set, what each of the first layers merges away: the paper's numbers for 12 frames of 196."""


@register_reduction
@dataclass(frozen=True)
class VidTLDR(LayerReduction):
    """
    Training-free merging by saliency, after Choi et al., vid-TLDR, CVPR 2024.

    The first layers already tell the background: its attention is spread, that of what matters is sharp. Rows are
    matched as in token merging, by their states; a row that is merged into another counts there by its saliency, the
    sharpness of its attention (mean over heads) from 0, at the mean of its set or below, to 1. So background vanishes
    instead of blurring what it is merged with.

    As in the paper, what was merged counts in later means by the saliency that it had. In attention it counts as often
    as it has positions, as all merged rows do here, since a cache holds its keys and values at each of them; the paper
    takes the sum of saliencies there too. Rows stay in the order of their positions (see `ToMe`).

    Args:
        r (`list[int]`, *optional*):
            Rows that each of the first layers merges away, at most half of them. By default the paper's 600, 200 and
            100 of 2,352 (12 frames), and as large a share of other numbers.

    Example:

    ```python
    >>> from hf_ttr.reduction import VidTLDR

    >>> VidTLDR().per_layer(tokens=1568)
    [400, 133, 67]
    ```
    """

    method: ClassVar[str] = "vid_tldr"
    paper: ClassVar[str] = "after Choi et al., vid-TLDR, CVPR 2024"
    needs: ClassVar[frozenset[str]] = frozenset({"sharpness"})

    r: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        self.freeze("r")
        self.require(
            "r",
            self.r is None
            or (isinstance(self.r, tuple) and all(is_whole(number) and number >= 0 for number in self.r)),
            "a list of whole numbers of at least 0, one for each of the first layers, or None",
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is merged."""
        return self.r is not None and not any(self.r)

    def per_layer(self, tokens: int) -> list[int]:
        """Rows that each of the first layers merges away in a set of so many."""
        return [round(share * tokens) for share in SHARES] if self.r is None else list(self.r)

    def check(self, model: ModelShape) -> None:
        """See `Reduction.check`."""
        numbers = self.per_layer(model.tokens)
        if self.r is not None:
            self.require(
                "r", len(numbers) <= model.layers, f"a list of at most {model.layers} numbers, as many as layers"
            )
        self.require(
            "r", max(numbers, default=0) <= model.half, f"at most half of the {model.tokens} tokens, {model.half}"
        )

    def removed(self, layer: int, count: int, initial: int, model: ModelShape) -> int:
        """See `LayerReduction.removed`."""
        numbers = self.per_layer(model.tokens)
        return share_of(numbers[layer], count, initial, model) if layer < len(numbers) else 0

    def change(self, layer: int, sets: RowSets, removed: list[int], observed: Observed, protected: int) -> RowChange:
        """See `LayerReduction.change`."""
        assert observed.sharpness is not None and observed.weights is not None
        sources, targets = match(observed.states, sets, removed, protected)
        saliency = saliency_of(observed.sharpness, sets, removed)
        weights = observed.weights.index_copy(0, sources, observed.weights[sources] * saliency[sources])
        return RowChange(sources, targets, weights=weights)

    def multiply_adds(self, count: int, model: ModelShape) -> int:
        """See `LayerReduction.multiply_adds`."""
        return (padded_size(count) // 2) ** 2 * model.hidden_size


def saliency_of(sharpness: torch.Tensor, sets: RowSets, removed: list[int]) -> torch.Tensor:
    """
    From 0 for rows of each set that are no sharper than its mean to 1 for the sharpest.

    Args:
        sharpness (`torch.FloatTensor` of shape `(rows,)`): of all rows.
        sets: the sets.
        removed (`list[int]`): sets for which it is 0 are not looked at.

    Returns:
        `torch.FloatTensor` of shape `(rows,)`.
    """
    saliency = torch.zeros_like(sharpness)
    for group in sets.padded([number for number, count in enumerate(removed) if count]):
        values = sharpness[group.rows]
        most = values.masked_fill(~group.is_row, -torch.inf).amax(-1, keepdim=True)
        mean = (values * group.is_row).sum(-1, keepdim=True) / group.is_row.sum(-1, keepdim=True)
        # The paper scales to 0..1 first, of which nothing is left after this.
        scaled = (values - mean).clamp(min=0) / (most - mean).clamp(min=torch.finfo(values.dtype).tiny)
        saliency[group.rows[group.is_row]] = scaled[group.is_row]
    return saliency
