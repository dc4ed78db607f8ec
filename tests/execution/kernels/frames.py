"""Random frames for the tests of attention."""

from __future__ import annotations

import torch

from hf_ttr.execution.kernels.frame_links import FrameLinks


def random_links(counts: list[int], tokens: int, table_rows: int, alpha: float | None, seed: int = 0) -> FrameLinks:
    """Links to random table rows; `alpha` is that of every key, or random (0 and 1 among them) where it is `None`."""
    generator = torch.Generator().manual_seed(seed)
    frames = len(counts)
    left, right = torch.randint(table_rows, (2, frames, tokens), generator=generator, dtype=torch.int32)
    shares = torch.rand(frames, tokens, generator=generator) if alpha is None else torch.full((frames, tokens), alpha)
    if alpha is None:
        shares = torch.where(shares < 0.3, 0.0, torch.where(shares > 0.9, 1.0, shares))
    starts = torch.tensor([0, *counts], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    return FrameLinks(starts, left, right, shares, max(counts, default=0), is_hold=alpha == 0)


def random_states(
    rows: int, table_rows: int, heads: int, head_dim: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Query, keys and values, strided as the projections of a model leave them (heads side by side in a row)."""
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(rows, heads, head_dim, generator=generator)
    keys, values = torch.randn(2, table_rows, heads, head_dim, generator=generator)
    return query.to(dtype), keys.to(dtype), values.to(dtype)
