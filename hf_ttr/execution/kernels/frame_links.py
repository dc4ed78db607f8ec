"""Which rows belong to which frame, and of which table rows the keys and values of each frame are made."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch

from ...planning.plan import ReusePlan


@dataclass
class FrameLinks:
    """
    What attention needs to know of a plan, made once per call and shared by all layers.

    Query rows are packed: frame `f` has rows `query_starts[f]` to `query_starts[f + 1]`, none where both are the same.
    Key (and value) `p` of frame `f` is `(1 - alpha[f, p]) * table[left[f, p]] + alpha[f, p] * table[right[f, p]]`.

    Attributes:
        query_starts (`torch.IntTensor` of shape `(frames + 1,)`): the first row of each frame; last, their number.
        left, right (`torch.IntTensor` of shape `(frames, tokens)`): rows of the table.
        alpha (`torch.FloatTensor` of shape `(frames, tokens)`): share of `right`, in [0, 1]; where it is 0, `right` is
            not read.
        longest (`int`): query rows of the frame that has most, or more. What is launched depends on it and on the
            shapes alone, so that a CUDA graph with `longest=tokens` serves every plan of these shapes.
        is_hold (`bool`): whether `alpha` is 0 everywhere. Where it is false it still may be.
    """

    query_starts: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor
    alpha: torch.Tensor
    longest: int
    is_hold: bool

    @classmethod
    def of(cls, plan: ReusePlan, counts: list[int]) -> FrameLinks:
        """
        The links of a plan.

        Args:
            plan: the plan.
            counts (`list[int]`): query rows of each frame, for frames ordered by stream and time.
        """
        device = plan.computed.device
        longest = max(counts, default=0)
        starts = torch.tensor([0, *accumulate(counts)], dtype=torch.int32, device=device)
        left, right, alpha = (part.flatten(0, 1) for part in plan.links)
        left, right = (part.int().contiguous() for part in (left, right))
        return cls(starts, left, right, alpha.float().contiguous(), longest, plan.is_hold)
