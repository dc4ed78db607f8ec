"""The kernel of the best polylines against plain torch, bit for bit."""

from __future__ import annotations

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning import bidirectional
from hf_ttr.planning.bidirectional import choose_corners, polyline_errors, reference_best_corners
from hf_ttr.planning.plan import NEVER

from ..execution.kernels.compiling import compiled_kernel, needs_compiler


def errors_of_walks(points: int, max_age: int | None, count: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    """`polyline_errors` of random walks, of some of which no cached point is valid or it is old."""
    generator = torch.Generator().manual_seed(points)
    walks = torch.randn(count, points, 5, generator=generator).mul(0.3).cumsum(1)
    age = torch.randint(1, 9, (count,), generator=generator)
    if points > 1:
        age[::4] = NEVER
        walks[::4] -= walks[::4, 1:2].clone()
    return polyline_errors(walks @ walks.transpose(1, 2), age, max_age)


def same(segments: torch.Tensor, tail: torch.Tensor, prices: torch.Tensor, device: torch.device) -> torch.Tensor:
    from hf_ttr.planning.best_corners_triton import triton_best_corners

    expected = reference_best_corners(segments, tail, prices)
    found = triton_best_corners(segments.to(device), tail.to(device), prices.to(device)).cpu()
    assert found.dtype == torch.bool and torch.equal(found, expected)
    return expected


@pytest.mark.parametrize("max_age", [None, 30, 4, 1], ids=lambda max_age: f"max-age-{max_age}")
@pytest.mark.parametrize("points", [1, 2, 9, 33, 64, 65], ids=lambda points: f"{points}-points")
def test_corners_are_those_of_torch(points: int, max_age: int | None, kernel_device: torch.device) -> None:
    segments, tail = errors_of_walks(points, max_age)
    prices = torch.logspace(-3, 1.5, 5).repeat_interleave(len(tail)).view(5, len(tail))
    corners = same(segments, tail, prices, kernel_device)
    assert points < 9 or max_age == 1 or corners[0].sum() > corners[-1].sum()


def test_of_corners_that_are_as_good_the_kernel_takes_those_that_torch_takes(
    kernel_device: torch.device,
) -> None:
    # Few whole numbers add up to the same in many ways, and most pieces that are not allowed lie between them.
    generator = torch.Generator().manual_seed(0)
    segments = torch.randint(4, (40, 17, 7), generator=generator).float()
    segments[torch.rand(segments.shape, generator=generator) < 0.4] = torch.inf
    tail = torch.randint(4, (40, 17), generator=generator).float()
    tail[torch.rand(tail.shape, generator=generator) < 0.4] = torch.inf
    tail[0] = torch.inf
    corners = same(segments, tail, torch.tensor([0.0, 1.0, 2.0])[:, None].expand(3, 40), kernel_device)
    # Where nothing is allowed, nothing is chosen.
    assert corners[:, 0].sum() == 3


def test_each_trajectory_has_its_own_price(kernel_device: torch.device) -> None:
    segments, tail = errors_of_walks(20, None, count=9)
    prices = torch.rand(2, 9, generator=torch.Generator().manual_seed(1)) ** 4
    same(segments, tail, prices, kernel_device)
    same(segments[:0], tail[:0], prices[:, :0], kernel_device)


def test_a_clip_is_planned_the_same(monkeypatch: pytest.MonkeyPatch, kernel_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 10, 6, 4, generator=generator).mul(0.3).cumsum(1).to(kernel_device)
    config = TemporalReuseConfig(compute_budget=0.3, context_size=3)
    weights = torch.ones(2, 6, device=kernel_device)
    chosen = []
    for reason in ("as asked", None):
        monkeypatch.setattr(bidirectional, "triton_unavailable_reason", lambda device, reason=reason: reason)
        chosen.append(choose_corners(features, None, None, weights, (2, 3), config, 0.3))
    assert 12 < chosen[0].sum() <= 36 and torch.equal(*chosen)


@needs_compiler
@pytest.mark.parametrize("ones", [(), ("reach", "trajectories"), ("points", "reach")], ids=str)
@pytest.mark.parametrize("points", [2, 65, 300])
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles(capability: int, points: int, ones: tuple[str, ...]) -> None:
    pytest.importorskip("triton", reason="triton is not installed: `pip install triton` to compile the kernel.")
    from hf_ttr.planning.best_corners_triton import best_corners_kernel, kernel_settings

    types = dict.fromkeys(("segments", "tail", "prices"), "*fp32") | {"corners": "*i1"}
    # Numbers that are 1 are constants to Triton.
    compiled = compiled_kernel(
        best_corners_kernel, types, kernel_settings(points) | dict.fromkeys(ones, 1), capability
    )
    # Pieces are read ahead, and nothing is multiplied and added in one, which would round otherwise than torch.
    assert "points" in ones or "cp.async" in compiled.asm["ptx"]
    assert "fma" not in compiled.asm["ptx"]
