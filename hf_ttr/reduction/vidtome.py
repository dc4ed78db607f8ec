"""Merging across frames: rows of neighbouring frames become rows of one of them, wherever they lie in it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from torch import nn

from ..checks import is_number, is_whole
from .base import FrameMerge, FrameReduction, ModelShape, register_reduction
from .rows import RowSets, paired
from .tome import closest


@register_reduction
@dataclass(frozen=True)
class VidToMe(FrameReduction):
    """
    Joint merging of the frames of a call (Li et al., VidToMe, CVPR 2024), adapted from editing to classification.

    In each chunk of frames the rows of all frames but one look for the most similar row (cosine of the embeddings) of
    that one, wherever it lies, and the most similar pairs become one row each (local tokens). Then those that are left
    in all chunks but one do the same with that one (global tokens). A merged row goes through all layers once, and its
    state stands at the place of each of its tokens ("unmerging") behind the last. The paper merges for attention
    alone: it unmerges right behind it, and matches anew in each block, so that tokens of one row stay apart elsewhere;
    averaged through all layers they save the MLPs as well, and lose more. The paper takes a frame at random; here it
    is the one of which most is computed, that in the middle of several.

    With reuse a chunk is of frames, but only what is computed of them merges. Chunks begin anew with every call, so
    frames that come one by one are not merged.

    Args:
        chunk (`int`, defaults to 4):
            Frames of a chunk.
        local_ratio, global_ratio (`float`, default to 0.5 and 0.5):
            Share of the rows that look for another that are merged into it, within chunks and between them, in [0, 1].
    """

    method: ClassVar[str] = "vidtome"
    paper: ClassVar[str] = "Li et al., VidToMe, CVPR 2024"

    chunk: int = 4
    local_ratio: float = 0.5
    global_ratio: float = 0.5

    def __post_init__(self) -> None:
        self.require("chunk", is_whole(self.chunk) and self.chunk >= 1, "a whole number of frames of at least 1")
        for name in ("local_ratio", "global_ratio"):
            value = getattr(self, name)
            self.require(name, is_number(value) and 0 <= value <= 1, "a share of the rows from 0 to 1")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is merged."""
        return (self.chunk == 1 or self.local_ratio == 0) and self.global_ratio == 0

    def check(self, model: ModelShape) -> None:
        """See `Reduction.check`."""
        if model.times > 1:
            raise ValueError(
                f"reduction {self.method!r} merges frames that are seen one by one, but a {model.name} sees a window "
                "at once; 'tome' merges in all of it."
            )

    @torch.no_grad()
    def merge(self, rows: torch.Tensor, frames: RowSets, streams: int, protected: int) -> FrameMerge:
        """See `FrameReduction.merge`."""
        per_stream = len(frames.counts) // streams
        chunks = [min(self.chunk, per_stream - first) for first in range(0, per_stream, self.chunk)]
        features = nn.functional.normalize(rows.detach().float(), dim=-1)
        frame = _repeated(frames.counts, rows.device)
        place = torch.arange(len(rows), device=rows.device)
        is_free = place - torch.tensor(frames.starts, device=rows.device)[frame] >= protected
        free = [max(count - protected, 0) for count in frames.counts]

        targets, merged, costs = merge_into_one(
            features, frame, is_free, free, chunks * streams, self.local_ratio, place
        )
        chunk = _repeated(chunks * streams, rows.device)[frame]
        left = [sum(part) - less for part, less in zip(_split(free, chunks * streams), merged)]
        is_left = is_free & (targets == place)
        further, _, more_costs = merge_into_one(
            features, chunk, is_left, left, [len(chunks)] * streams, self.global_ratio, place
        )
        by_stream = [sum(part) for part in _split(costs, [len(chunks)] * streams)]
        return FrameMerge(further[targets], [cost + more for cost, more in zip(by_stream, more_costs)])


def merge_into_one(
    features: torch.Tensor,
    part: torch.Tensor,
    may_merge: torch.Tensor,
    counts: list[int],
    groups: list[int],
    ratio: float,
    place: torch.Tensor,
) -> tuple[torch.Tensor, list[int], list[int]]:
    """
    Merges the rows of all parts of a group but one into those of that one, the largest.

    Args:
        features (`torch.Tensor` of shape `(rows, dim)`): what is compared, of norm 1.
        part (`torch.LongTensor` of shape `(rows,)`): the part that each row belongs to, in order.
        may_merge (`torch.BoolTensor` of shape `(rows,)`): rows that take part.
        counts (`list[int]`): how many rows of each part do.
        groups (`list[int]`): how many parts each group has, in order.
        ratio (`float`): share of the rows outside the one part that are merged.
        place (`torch.LongTensor` of shape `(rows,)`): 0, 1, 2, ...

    Returns:
        The row that each one is merged into, or itself, shape `(rows,)`; and for each group how many are merged, and
        how many multiply-adds comparing them cost.
    """
    is_target, looking_counts, found_counts = [], [], []
    for own in _split(counts, groups):
        largest = [number for number, count in enumerate(own) if count == max(own)]
        chosen = largest[len(largest) // 2]
        is_target += [number == chosen for number in range(len(own))]
        looking_counts.append(sum(own) - own[chosen])
        found_counts.append(own[chosen])
    merged = [int(ratio * looking) if found else 0 for looking, found in zip(looking_counts, found_counts)]
    is_found = torch.tensor(is_target, device=part.device)[part]
    looking, found = (may_merge & ~is_found).nonzero().squeeze(-1), (may_merge & is_found).nonzero().squeeze(-1)
    pairs = paired(RowSets(looking_counts, part.device), RowSets(found_counts, part.device), merged)
    targets, costs = place.clone(), [0] * len(groups)
    for first, second in pairs:
        wanted = [merged[number] for number in first.sets]
        sources, becomes = closest(
            features, looking[first.rows], first.is_row, found[second.rows], second.is_row, wanted
        )
        targets[sources] = becomes
        for number in first.sets:
            costs[number] = first.rows.shape[1] * second.rows.shape[1] * features.shape[1]
    return targets, merged, costs


def _split(values: list[int], sizes: list[int]) -> list[list[int]]:
    """Lists of the given sizes, one after another."""
    starts = [0, *accumulate(sizes)]
    return [values[first:last] for first, last in zip(starts, starts[1:])]


def _repeated(counts: list[int], device: torch.device) -> torch.Tensor:
    """Each number as often as it counts: [2, 1] is 0, 0, 1."""
    return torch.arange(len(counts), device=device).repeat_interleave(torch.tensor(counts, device=device))
