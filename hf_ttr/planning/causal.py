"""Causal planning: a live stream, of which nothing is known but the past."""

from __future__ import annotations

import torch

from ..configuration import DEFAULT_THRESHOLD, TemporalReuseConfig
from .importance import neighbourhood_mean
from .plan import NEVER


def choose_changed(
    features: torch.Tensor,
    reference: torch.Tensor | None,
    age: torch.Tensor | None,
    weights: torch.Tensor,
    grid: tuple[int, int],
    config: TemporalReuseConfig,
) -> torch.Tensor:
    """
    Frame after frame, computes the patches that differ from what they were when last computed.

    The reference is the embedding at the last computation, not the previous frame, so slow drift is noticed (Eventful
    Transformers, Dutson et al. 2023). A patch is computed if its error exceeds the threshold, if it is too old, or if
    the frame is a scene cut; with a budget, at most that share of each frame is, the largest errors first.

    Args:
        features (`torch.FloatTensor` of shape `(batch, frames, patches, dim)`): embeddings relative to the mean norm.
        reference (`torch.FloatTensor` of shape `(batch, patches, dim)`, *optional*): embeddings at the last computation.
        age (`torch.LongTensor` of shape `(batch, patches)`, *optional*): frames since then, `NEVER` = not valid.
        weights (`torch.FloatTensor` of shape `(batch, patches)`): factors of the errors.
        grid (`tuple[int, int]`): rows and columns of patches.
        config: the settings.

    Returns:
        `torch.BoolTensor` of shape `(batch, planned, patches)`: the patches to compute, for the frames up to and with
        the first one after which the saliency is known anew, or for all.
    """
    batch, frames, positions, _ = features.shape
    if reference is None or age is None:
        reference = features[:, 0]
        age = torch.full((batch, positions), NEVER, device=features.device)
    budget = config.compute_budget
    threshold = config.effective_threshold
    chosen = []
    for frame in range(frames):
        difference = (features[:, frame] - reference).square().sum(-1)
        error = spread_error(difference, grid, config).sqrt() * weights
        due = age >= (NEVER if config.max_age is None else config.max_age)
        changed = due | (error > threshold)
        cut_threshold = threshold if threshold > 0 else DEFAULT_THRESHOLD
        cut = (due | (error > cut_threshold)).float().mean(-1, keepdim=True) > config.scene_cut
        if budget is not None:
            allowed = max(int(budget * positions), 1)
            rank = torch.where(due, torch.inf, error).argsort(-1, descending=True, stable=True).argsort(-1)
            changed = (changed & (rank < allowed)) | (age >= NEVER)
        changed = changed | cut
        chosen.append(changed)
        if config.saliency_weight > 0 and frame + 1 < frames and bool(changed.all(-1).any()):
            break
        reference = torch.where(changed[..., None], features[:, frame], reference)
        age = torch.where(changed, 1, (age + 1).clamp(max=NEVER))
    return torch.stack(chosen, dim=1)


def spread_error(squared: torch.Tensor, grid: tuple[int, int], config: TemporalReuseConfig) -> torch.Tensor:
    """
    Adds to the squared error of each position that of its surroundings.

    The deep states of a token change with what it attends to, and it attends mostly to its neighbours.

    Args:
        squared (`torch.FloatTensor` of shape `(n, patches)`), grid: see `neighbourhood_mean`.
        config: `context_weight` is the factor of the neighbourhood's root mean square error.

    Returns:
        `torch.FloatTensor` of the same shape.
    """
    if config.context_weight == 0:
        return squared
    return squared + config.context_weight**2 * neighbourhood_mean(squared, grid, config.context_size)
