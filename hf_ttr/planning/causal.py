"""Causal planning: a live stream, of which nothing is known but the past."""

from __future__ import annotations

import torch

from ..configuration import DEFAULT_THRESHOLD, TemporalReuseConfig
from .importance import spread_over_neighbours
from .norms import mean_norm
from .plan import NEVER
from .price import prices_of_streams


def choose_changed(
    features: torch.Tensor,
    reference: torch.Tensor | None,
    age: torch.Tensor | None,
    debt: torch.Tensor | None,
    weights: torch.Tensor,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
    budget: float | None = None,
    thresholds: torch.Tensor | None = None,
    *,
    norms: torch.Tensor | None = None,
    pauses_when_whole: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Frame after frame, computes the patches whose errors since they were last computed have added up to the price.

    The reference is the embedding at the last computation, not the previous frame, so slow drift is noticed (Eventful
    Transformers, Dutson et al. 2023). A patch is computed if the sum of its squared errors since then exceeds the
    square of the threshold, which is what a corner costs in a clip. That is the rule of ski rental: without knowing
    the future, never pay more than twice the best (Karlin et al. 1988). It is also computed if it is too old, or if
    the frame is a scene cut; with a budget, at most that share of each frame is, the largest sums first.

    Args:
        features (`torch.FloatTensor` of shape `(batch, frames, patches, dim)`): embeddings.
        reference (`torch.FloatTensor` of shape `(batch, patches, dim)`, *optional*): those last computed.
        age (`torch.LongTensor` of shape `(batch, patches)`, *optional*): frames since then, `NEVER` = not valid.
        debt (`torch.FloatTensor` of shape `(batch, patches)`, *optional*): the sums so far; left out, they are 0.
        weights (`torch.FloatTensor` of shape `(batch, patches)`): factors of the errors, as in `choose_corners`.
        grid (`tuple[int, int]`): rows and columns of patches.
        config: the settings.
        budget (`float`, *optional*): share of the patches of a frame that may be computed; what is new or a scene cut
            is computed all the same.
        thresholds (`torch.Tensor` of shape `(batch,)`, *optional*): of the streams, instead of that of the settings.
        norms (`torch.FloatTensor` of shape `(batch, 1 + frames, patches)`, *optional*): of the reference and of the
            features. Errors are relative to the mean norm of what the patches of the stream were last computed from,
            so that a threshold means the same behind a cut, or in another light; left out, they are relative to 1.
        pauses_when_whole (`bool`): whether to stop at a frame that is computed whole, whose attention changes the
            weights.

    Returns:
        `torch.BoolTensor` of shape `(batch, planned, patches)`: the patches to compute, for the frames up to and with
        the first one at which to stop, or for all; and the sums after them, a `torch.FloatTensor` of shape `(batch,
        patches)`.
    """
    batch, frames, positions, _ = features.shape
    if reference is None or age is None:
        reference = features[:, 0]
        age = torch.full((batch, positions), NEVER, device=features.device)
    if debt is None:
        debt = torch.zeros_like(weights)
    price = prices_of_streams(config, thresholds, batch, features.device)[:, None]
    cut_price = torch.where(price > 0, price, DEFAULT_THRESHOLD**2)
    held_norm = None if norms is None else norms[:, 0]
    chosen = []
    for frame in range(frames):
        factor = weights if held_norm is None else weights / mean_norm(held_norm)[:, None]
        error = (features[:, frame] - reference).square().sum(-1)
        error = spread_over_neighbours(error, grid, config.context_weight, config.context_size) * factor.square()
        debt = debt + error
        due = age >= (NEVER if config.max_age is None else config.max_age)
        changed = due | (debt > price)
        # What small errors added up to is no cut.
        cut = (error > cut_price).float().mean(-1, keepdim=True) > config.scene_cut
        if budget is not None:
            order = torch.where(due, torch.inf, debt).sort(dim=-1, descending=True, stable=True).indices
            rank = order.argsort(-1)
            changed = (changed & (rank + 1 <= budget * positions)) | (age >= NEVER)
        changed = changed | cut
        debt = torch.where(changed, 0.0, debt)
        chosen.append(changed)
        if pauses_when_whole and frame + 1 < frames and bool(changed.all(-1).any()):
            break
        reference = torch.where(changed[..., None], features[:, frame], reference)
        if norms is not None and held_norm is not None:
            held_norm = torch.where(changed, norms[:, frame + 1], held_norm)
        age = torch.where(changed, 1, (age + 1).clamp(max=NEVER))
    return torch.stack(chosen, dim=1), debt
