"""Token merging: in every layer, the most similar rows become one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from ..checks import is_whole
from .base import LayerReduction, ModelShape, Observed, register_reduction
from .rows import RowChange, RowSets, first_of_each, padded_size


SCHEDULES = ("constant", "decreasing", "increasing")


@register_reduction
@dataclass(frozen=True)
class ToMe(LayerReduction):
    """
    Token merging (Bolya et al., Token merging: your ViT but faster, ICLR 2023).

    After attention in each layer, every second row looks for the one among the others whose key is most like its own
    (mean over heads, cosine). The `r` pairs that are most alike become one row each, the mean of all tokens in them.

    Rows keep the order of their positions here, and a merged one the place of the row that was found. The paper's code
    puts the rows that were looked among behind the others; so, from the second layer on, other rows look for one
    another than there. Nothing else differs; the benchmarks have both.

    Args:
        r (`int` or `list[int]`, defaults to 8):
            Rows that each layer merges away, at most half of them; a list has a number for each layer. Where a frame
            has fewer rows than tokens, because others are reused, it merges proportionally fewer.
        schedule (`str`, defaults to `"constant"`):
            Whether a single `r` holds for each layer, or is the mean of numbers that fall from twice as much to
            nothing (`"decreasing"`: less is computed for as many merges) or rise (`"increasing"`).
        proportional_attention (`bool`, defaults to `True`):
            Whether a row counts in attention as often as it has tokens. Frames of which some tokens are reused always
            do so.

    Example:

    ```python
    >>> from hf_ttr.reduction import ToMe

    >>> ToMe(r=8, schedule="decreasing").per_layer(4)
    [16, 10, 5, 0]
    ```
    """

    method: ClassVar[str] = "tome"
    paper: ClassVar[str] = "Bolya et al., Token merging, ICLR 2023"
    needs: ClassVar[frozenset[str]] = frozenset({"keys"})

    r: int | tuple[int, ...] = 8
    schedule: str = "constant"
    proportional_attention: bool = True

    def __post_init__(self) -> None:
        self.freeze("r")
        numbers = self.r if isinstance(self.r, tuple) else (self.r,)
        self.require(
            "r",
            all(is_whole(number) and number >= 0 for number in numbers),
            "a whole number of rows of at least 0, or a list of them, one for each layer",
        )
        self.require("schedule", self.schedule in SCHEDULES, f"one of {', '.join(map(repr, SCHEDULES))}")
        self.require(
            "schedule",
            self.schedule == "constant" or not isinstance(self.r, tuple),
            "'constant' where r is a list, which is a schedule itself",
        )
        self.require("proportional_attention", isinstance(self.proportional_attention, bool), "True or False")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is merged."""
        return not any(self.r) if isinstance(self.r, tuple) else not self.r

    def per_layer(self, layers: int) -> list[int]:
        """Rows of a whole set that each layer merges away."""
        if isinstance(self.r, tuple):
            return list(self.r)
        if self.schedule == "constant" or layers == 1:
            return [self.r] * layers
        falling = [2 * self.r * (layers - 1 - layer) // (layers - 1) for layer in range(layers)]
        return falling if self.schedule == "decreasing" else falling[::-1]

    def check(self, model: ModelShape) -> None:
        """See `Reduction.check`."""
        numbers = self.per_layer(model.layers)
        self.require("r", len(numbers) == model.layers, f"a list of {model.layers} numbers, one for each layer")
        self.require(
            "r",
            max(numbers) <= model.half,
            f"at most half of the {model.tokens} tokens in any layer, {model.half}"
            + ("" if self.schedule == "constant" else f" (schedule {self.schedule!r} starts or ends with twice r)"),
        )

    def removed(self, layer: int, count: int, initial: int, model: ModelShape) -> int:
        """See `LayerReduction.removed`."""
        return share_of(self.per_layer(model.layers)[layer], count, initial, model)

    def change(self, layer: int, sets: RowSets, removed: list[int], observed: Observed, protected: int) -> RowChange:
        """See `LayerReduction.change`."""
        assert observed.keys is not None
        return RowChange(*match(observed.keys, sets, removed, protected))

    def multiply_adds(self, count: int, model: ModelShape) -> int:
        """See `LayerReduction.multiply_adds`."""
        return (padded_size(count) // 2) ** 2 * model.key_size


def share_of(merges: int, count: int, initial: int, model: ModelShape) -> int:
    """
    What a set merges away in a layer where a whole one merges away `merges` rows: as large a share of what is
    computed of it, and at most half of what is left.

    Args:
        merges, count, initial, model: see `LayerReduction.removed`.
    """
    return max(min(merges * initial // model.tokens, (count - model.protected) // 2), 0)


def match(
    features: torch.Tensor, sets: RowSets, merges: list[int], protected: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Bipartite soft matching, in many sets at once.

    Args:
        features (`torch.Tensor` of shape `(rows, dim)`): what is compared, by its cosine.
        sets: the sets.
        merges (`list[int]`): for each set, how many rows are to be merged into others.
        protected (`int`): rows in front of each set that are neither.

    Returns:
        Two tensors of shape `(sum of merges,)`: rows, and the rows that they are merged into.
    """
    features = nn.functional.normalize(features.detach().float(), dim=-1)
    sources, targets = [features.new_zeros(0, dtype=torch.long)], [features.new_zeros(0, dtype=torch.long)]
    for group in sets.padded([number for number, count in enumerate(merges) if count]):
        is_free = group.is_row & (torch.arange(group.rows.shape[1], device=features.device) >= protected)
        (looking, found), (looks, is_found) = ((part[:, ::2], part[:, 1::2]) for part in (group.rows, is_free))
        pairs = closest(features, looking, looks, found, is_found, [merges[number] for number in group.sets])
        sources.append(pairs[0])
        targets.append(pairs[1])
    return torch.cat(sources), torch.cat(targets)


def closest(
    features: torch.Tensor,
    looking: torch.Tensor,
    looks: torch.Tensor,
    found: torch.Tensor,
    is_found: torch.Tensor,
    wanted: list[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Of the rows that look for the most similar one among others, those that find the most similar ones.

    Args:
        features (`torch.FloatTensor` of shape `(rows, dim)`): what is compared, of norm 1.
        looking, found (`torch.LongTensor` of shape `(sets, size)`, of sizes of their own): rows of each set.
        looks, is_found (`torch.BoolTensor` of the same shapes): where there are any.
        wanted (`list[int]`): how many pairs each set is to give.

    Returns:
        Two tensors of shape `(sum of wanted,)`: rows, and what they found; the most similar pairs of a set first.
    """
    scores = features[looking] @ features[found].transpose(1, 2)
    best, choice = scores.masked_fill_(~is_found[:, None], -torch.inf).max(-1)
    order = best.masked_fill(~looks, -torch.inf).argsort(dim=-1, descending=True, stable=True)[:, : max(wanted)]
    partner = found.gather(1, choice.gather(1, order))
    return first_of_each(looking.gather(1, order), wanted), first_of_each(partner, wanted)
