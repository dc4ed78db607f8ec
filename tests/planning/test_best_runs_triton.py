"""The kernel of the best runs against plain torch, bit for bit."""

from __future__ import annotations

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning import runs
from hf_ttr.planning.runs import HELD, best_runs, choose_runs, pairwise_distances
from hf_ttr.planning.window_plan import is_computed

from ..execution.kernels.compiling import compiled_kernel, needs_compiler


FRACTIONS = torch.tensor([0.0, 0.1, 0.3, 0.5, 0.5, 0.7, 0.9])
"""Where the tokens of all kinds of representatives lie in their runs."""


def errors_of_walks(times: int, known: bool, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances of random walks, and errors of what is held: some infinite, some 0, or all infinite."""
    generator = torch.Generator().manual_seed(times)
    distances = pairwise_distances(torch.randn(count, times, 5, generator=generator).mul(0.3).cumsum(1))
    held = torch.full((count, times), torch.inf)
    if known:
        held = torch.rand(count, times, generator=generator)
        held[torch.rand(count, times, generator=generator) < 0.3] = torch.inf
        held[torch.rand(count, times, generator=generator) < 0.2] = 0
    return distances, held


def same(distances: torch.Tensor, held: torch.Tensor, prices: torch.Tensor, device: torch.device) -> torch.Tensor:
    """What the kernel finds, which is what torch does."""
    from hf_ttr.planning.best_runs_triton import triton_best_runs

    fractions = FRACTIONS.repeat(len(held) // len(FRACTIONS))
    expected = best_runs(distances, held, fractions)(prices)
    sums = torch.minimum(distances, held[..., None]).cumsum(1)
    given = (part.to(device) for part in (distances, held, sums, fractions, prices))
    found = triton_best_runs(*given).cpu()
    assert found.dtype == torch.long and torch.equal(found, expected)
    return expected


@pytest.mark.parametrize("known", [False, True], ids=["new", "held"])
@pytest.mark.parametrize("times", [1, 2, 5, 8, 16, 65], ids=lambda times: f"{times}-times")
def test_runs_are_those_of_torch(times: int, known: bool, kernel_device: torch.device) -> None:
    # Triton's interpreter is slow, and where times are many a program has one position anyway.
    distances, held = errors_of_walks(times, known, count=14 if times <= 16 else 7)
    prices = torch.logspace(-3, 1.5, 3).repeat_interleave(len(held)).view(3, len(held))
    sources = same(distances, held, prices, kernel_device)
    counts = is_computed(sources.mT).sum((1, 2))
    assert times == 1 or counts[0] > counts[-1]
    assert bool((sources == HELD).any()) == known


@pytest.mark.parametrize("known", [False, True], ids=["new", "held"])
def test_of_runs_that_are_as_good_the_kernel_takes_those_that_torch_takes(
    known: bool, kernel_device: torch.device
) -> None:
    # Few whole numbers add up to the same in many ways.
    generator = torch.Generator().manual_seed(0)
    distances = torch.randint(3, (35, 9, 9), generator=generator).float()
    held = torch.randint(3, (35, 9), generator=generator).float()
    held[torch.rand(held.shape, generator=generator) < (0.4 if known else 1.0)] = torch.inf
    same(distances, held, torch.tensor([0.0, 1.0, 2.0])[:, None].expand(3, 35), kernel_device)


def test_each_position_has_its_own_price(kernel_device: torch.device) -> None:
    distances, held = errors_of_walks(8, known=True, count=14)
    prices = torch.rand(2, 14, generator=torch.Generator().manual_seed(1)) ** 4
    same(distances, held, prices, kernel_device)
    same(distances[:0], held[:0], prices[:, :0], kernel_device)


@pytest.mark.parametrize("limit", [{"compute_budget": 0.3}, {"threshold": 1.0}], ids=["budget", "threshold"])
def test_a_window_is_planned_the_same(
    limit: dict[str, float], monkeypatch: pytest.MonkeyPatch, kernel_device: torch.device
) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(2, 8, 6, 4, generator=generator).mul(0.3).cumsum(1).to(kernel_device)
    held = torch.rand(2, 8, 6, generator=generator)
    held[torch.rand(held.shape, generator=generator) < 0.4] = torch.inf
    config = TemporalReuseConfig(context_size=3, context_weight=0.5, **limit)
    chosen, errors = [], []
    for reason in ("as asked", None):
        monkeypatch.setattr(runs, "triton_unavailable_reason", lambda device, reason=reason: reason)
        found = choose_runs(features, held.to(kernel_device), (2, 3), config, config.compute_budget)
        chosen.append(found[0])
        errors.append(found[1])
    assert 0 < is_computed(chosen[0]).sum() < chosen[0].numel() / 2
    assert torch.equal(*chosen) and torch.equal(*errors)


@needs_compiler
@pytest.mark.parametrize("ones", [(), ("positions",), ("positions", "times")], ids=str)
@pytest.mark.parametrize("times", [1, 8, 32, 300])
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles(capability: int, times: int, ones: tuple[str, ...]) -> None:
    pytest.importorskip("triton", reason="triton is not installed: `pip install triton` to compile the kernel.")
    from hf_ttr.planning.best_runs_triton import best_runs_kernel, kernel_settings

    types = dict.fromkeys(("distances", "held", "sums", "fractions", "prices"), "*fp32") | {"sources": "*i64"}
    # Numbers that are 1 are constants to Triton.
    compiled = compiled_kernel(best_runs_kernel, types, kernel_settings(times) | dict.fromkeys(ones, 1), capability)
    # Nothing is multiplied and added in one, which would round otherwise than torch.
    assert "fma" not in compiled.asm["ptx"]
