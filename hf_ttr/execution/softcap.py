"""Scores of attention that are kept within bounds, as some models have them."""

from __future__ import annotations

import torch


def soft_capped(scores: torch.Tensor, softcap: float | None) -> torch.Tensor:
    """
    Scores before the softmax, none larger than the cap; smaller ones stay nearly what they are.

    Args:
        scores (`torch.Tensor`): of any shape, scaled, and without what is added to them.
        softcap (`float`, *optional*): the cap; `None` leaves them alone.
    """
    return scores if softcap is None else softcap * torch.tanh(scores / softcap)
