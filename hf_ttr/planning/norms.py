"""How large embeddings are: what errors are relative to, so that a threshold means the same on every model."""

from __future__ import annotations

import torch


def content_norms(embeddings: torch.Tensor, positions: torch.Tensor | None = None) -> torch.Tensor:
    """
    Norms of patch embeddings.

    Args:
        embeddings (`torch.Tensor` of shape `(..., patches, dim)`): of any floating dtype.
        positions (`torch.Tensor` of shape `(1, patches, dim)`, *optional*): what is in the embeddings beside content,
            the same in every frame; it is left out.

    Returns:
        `torch.FloatTensor` of shape `(..., patches)`.
    """
    embeddings = embeddings.detach()
    content = embeddings if positions is None else embeddings - positions.detach()
    return content.float().norm(dim=-1)


def mean_norm(norms: torch.Tensor) -> torch.Tensor:
    """The mean over the last dimension, never 0: `(..., patches)` to `(...)`."""
    return norms.mean(-1).clamp(min=1e-12)
