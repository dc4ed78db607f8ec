"""Carries out what methods decide across the frames of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..planning.plan import ReusePlan
from .base import FrameReduction
from .contract import check_merge, is_foreign
from .rows import RowSets


@dataclass
class MergedFrames:
    """
    A plan of which some computed rows were merged.

    Attributes:
        plan (`ReusePlan`): what is computed now; tokens whose row was merged are made of the row that it became.
        rows (`torch.Tensor` of shape `(rows, hidden_size)`): embeddings of the rows, means of those that became one.
        merged (`list[int]`): rows of each frame that were merged into others.
        multiply_adds (`list[int]`): what deciding cost, for each stream.
    """

    plan: ReusePlan
    rows: torch.Tensor
    merged: list[int]
    multiply_adds: list[int]


def merge_frames(
    methods: Sequence[FrameReduction], plan: ReusePlan, rows: torch.Tensor, protected: int
) -> MergedFrames:
    """
    Merges computed rows across the frames of a plan.

    Args:
        methods: the methods, in the order in which they work.
        plan: the plan.
        rows (`torch.Tensor` of shape `(rows, hidden_size)`): embeddings of the computed tokens.
        protected (`int`): tokens in front of each frame that stay as they are.
    """
    streams, before = plan.shape[0], plan.row_counts
    multiply_adds = [0] * streams
    sizes = torch.ones(len(rows), dtype=torch.float32, device=rows.device)
    for method in methods:
        frames = RowSets(plan.row_counts, rows.device)
        merge = method.merge(rows, frames, streams, protected)
        if is_foreign(method):
            check_merge(method, merge, frames, streams, protected)
        multiply_adds = [cost + more for cost, more in zip(multiply_adds, merge.multiply_adds)]
        plan = plan.merged(merge.targets)
        is_kept = merge.targets == torch.arange(len(rows), device=rows.device)
        total = torch.zeros_like(sizes).index_add(0, merge.targets, sizes)
        shares = (sizes / total[merge.targets]).to(rows.dtype)
        rows = torch.zeros_like(rows).index_add(0, merge.targets, rows * shares[:, None])[is_kept]
        sizes = total[is_kept]
    merged = [count - left for count, left in zip(before, plan.row_counts)]
    return MergedFrames(plan, rows, merged, multiply_adds)
