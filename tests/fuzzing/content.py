"""Embeddings and settings that the tests try: still, repeated, drifting, cut, equal, out of nothing, tiny and huge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st


KINDS = ("still", "repeated", "drift", "objects", "cuts", "noise", "lattice", "appears", "zero")
SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.sampled_from([1.0, 1.0, 1.0, 1e-4, 1e4])


def few(share: float) -> hypothesis_settings:
    """A share of the examples of the profile, for tests whose examples take long."""
    return hypothesis_settings(max_examples=round(share * hypothesis_settings.default.max_examples))


def embeddings(kind: str, seed: int, shape: Sequence[int], size: float = 1.0) -> torch.Tensor:
    """
    Patch embeddings of streams.

    Args:
        kind: how they change over time, one of `KINDS`.
        seed: of what is random in them.
        shape: `(batch, frames, patches, dim)`.
        size: factor of all.
    """
    batch, frames, patches, dim = shape
    generator = torch.Generator().manual_seed(seed)

    def normal(*sides: int) -> torch.Tensor:
        return torch.randn(*sides, generator=generator)

    first = normal(batch, 1, patches, dim)
    if kind == "zero":
        return torch.zeros(batch, frames, patches, dim)
    if kind == "lattice":
        # Small whole numbers: sums of squares are exact, and many choices are equally good.
        return size * torch.randint(-2, 3, (batch, frames, patches, dim), generator=generator).float()
    if kind == "still":
        changed = first.repeat(1, frames, 1, 1)
    elif kind == "repeated":
        changed = torch.cat([first, normal(batch, 1, patches, dim)], dim=1)[:, torch.arange(frames) % 2]
    elif kind == "drift":
        speed = torch.rand(batch, 1, patches, 1, generator=generator)
        changed = first + (0.3 * speed * normal(batch, frames, patches, dim)).cumsum(1)
    elif kind == "objects":
        moves = torch.rand(batch, frames, patches, 1, generator=generator) < 0.2
        changed = first + (moves * normal(batch, frames, patches, dim)).cumsum(1)
    elif kind == "cuts":
        cut = torch.rand(batch, frames, 1, 1, generator=generator) < 0.3
        changed = first + (3 * cut * normal(batch, frames, patches, dim)).cumsum(1)
    else:
        changed = normal(batch, frames, patches, dim)
        if kind == "appears":
            # All errors are far above the mean norm of the first frame.
            changed[:, :1] *= 1e-3
    return size * changed


@st.composite
def reuse_settings(draw: st.DrawFn, **fixed: Any) -> dict[str, Any]:
    """Settings of a planner of frames, other than the mode."""
    settings = {
        **draw(
            st.sampled_from(
                [
                    {},
                    {"threshold": 0.02},
                    {"threshold": 0.5},
                    {"threshold": 2.0},
                    {"compute_budget": 0.2},
                    {"compute_budget": 0.6},
                    {"compute_budget": 0.5, "threshold": 0.3},
                ]
            )
        ),
        "max_age": draw(st.sampled_from([None, 1, 2, 3, 24])),
        "saliency_weight": draw(st.sampled_from([0, 0.5, 2.0])),
        "context_weight": draw(st.sampled_from([0, 0.3, 1.0])),
        "context_size": draw(st.sampled_from([1, 3, 5])),
        "scene_cut": draw(st.sampled_from([0.3, 0.6, 1])),
    }
    return {**settings, **fixed}


@st.composite
def window_settings(draw: st.DrawFn, **fixed: Any) -> dict[str, Any]:
    """Settings of a planner of windows."""
    settings = {
        **draw(
            st.sampled_from(
                [
                    {},
                    {"threshold": 0.02},
                    {"threshold": 2.0},
                    {"compute_budget": 0.4},
                    {"compute_budget": 0.8},
                    {"compute_budget": 0.5, "threshold": 0.3},
                ]
            )
        ),
        "mode": draw(st.sampled_from(["bidirectional", "causal"])),
        "representative": draw(st.sampled_from(["spread", "interpolate", "middle", "start"])),
        "max_age": draw(st.sampled_from([None, 1, 2, 24])),
        "context_weight": draw(st.sampled_from([0, 0.3])),
        "context_size": draw(st.sampled_from([1, 3])),
        "drift_weight": draw(st.sampled_from([0, 0.01, 0.3])),
        "window_weight": draw(st.sampled_from([0, 1.0])),
    }
    return {**settings, **fixed}
