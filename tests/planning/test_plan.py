from __future__ import annotations

import itertools

import pytest
import torch

from hf_ttr.planning.plan import NEVER, ReusePlan

from ..host_reads import lists_read


def random_mask(
    batch: int, frames: int, tokens: int, share: float, seed: int, whole_first: bool = True
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    computed = torch.rand(batch, frames, tokens, generator=generator) < share
    computed[:, :, 0] = True
    if whole_first:
        computed[:, 0] = True
    return computed


def random_age(batch: int, tokens: int, seed: int) -> torch.Tensor:
    return torch.randint(1, 9, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def expected_links(
    computed: torch.Tensor, past_age: torch.Tensor | None, interpolate: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """left, right, alpha, age by the definition, token by token."""
    batch, frames, tokens = computed.shape
    offset = 0 if past_age is None else batch * tokens
    row_of = {key: offset + row for row, key in enumerate(map(tuple, computed.nonzero().tolist()))}
    left = torch.zeros(batch, frames, tokens, dtype=torch.long)
    right, alpha = left.clone(), torch.zeros(batch, frames, tokens)
    age = torch.zeros(batch, tokens, dtype=torch.long)
    for stream, token in itertools.product(range(batch), range(tokens)):
        known = [(time, row_of[stream, time, token]) for time in range(frames) if computed[stream, time, token]]
        if past_age is not None and past_age[stream, token] < NEVER:
            known.insert(0, (-int(past_age[stream, token]), stream * tokens + token))
        age[stream, token] = frames - known[-1][0]
        for time in range(frames):
            start, left[stream, time, token] = [entry for entry in known if entry[0] <= time][-1]
            following = [entry for entry in known if entry[0] >= time]
            if not interpolate or not following:
                right[stream, time, token] = left[stream, time, token]
                continue
            end, right[stream, time, token] = following[0]
            if end > start:
                alpha[stream, time, token] = (time - start) / (end - start)
    return left, right, alpha, age


@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize("past", [False, True], ids=["new", "past"])
@pytest.mark.parametrize(
    ("batch", "frames", "tokens", "share"),
    [(1, 1, 5, 0.5), (1, 9, 7, 0.3), (3, 6, 4, 0.2), (2, 12, 11, 0.05), (2, 4, 3, 1.0)],
    ids=lambda value: str(value),
)
def test_links_are_those_of_the_definition(
    batch: int, frames: int, tokens: int, share: float, past: bool, interpolate: bool
) -> None:
    computed = random_mask(batch, frames, tokens, share, seed=frames, whole_first=not past)
    past_age = random_age(batch, tokens, seed=tokens) if past else None
    plan = ReusePlan.build(computed, past_age, interpolate=interpolate)
    left, right, alpha, age = expected_links(computed, past_age, interpolate)
    assert torch.equal(plan.left, left)
    assert torch.equal(plan.right, right)
    assert torch.equal(plan.alpha, alpha)
    assert torch.equal(plan.age, age)
    assert plan.has_past is past


def test_computed_tokens_have_their_own_row_on_both_sides() -> None:
    computed = random_mask(2, 5, 6, 0.4, seed=0)
    plan = ReusePlan.build(computed, random_age(2, 6, seed=1), interpolate=True)
    own = torch.arange(int(computed.sum())) + 12
    assert torch.equal(plan.left[computed], own)
    assert torch.equal(plan.right[computed], own)
    assert not plan.alpha[computed].any()


def test_an_invalid_past_is_never_linked() -> None:
    computed = torch.tensor([[[True, True, False], [True, False, False]]])
    past_age = torch.tensor([[NEVER, NEVER, 4]])
    plan = ReusePlan.build(computed, past_age, interpolate=True)
    # Rows 0 to 2 are the past, 3 to 5 the computed tokens.
    assert plan.left.tolist() == [[[3, 4, 2], [5, 4, 2]]]
    assert plan.right.tolist() == [[[3, 4, 2], [5, 4, 2]]]
    assert plan.age.tolist() == [[1, 2, 6]]


def test_interpolation_from_the_past_counts_the_frames_since() -> None:
    computed = torch.tensor([[[True, False], [True, False], [True, True]]])
    plan = ReusePlan.build(computed, torch.tensor([[1, 2]]), interpolate=True)
    # From two frames ago to frame 2: frames 0 and 1 are a half and three quarters of the way.
    assert plan.alpha[0, :, 1].tolist() == [0.5, 0.75, 0.0]
    assert plan.left[0, :, 1].tolist() == [1, 1, 5]
    assert plan.right[0, :, 1].tolist() == [5, 5, 5]


@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize("past_age", [None, torch.tensor([[1, NEVER]])], ids=["new", "past-not-valid"])
def test_a_token_without_a_source_is_refused(past_age: torch.Tensor | None, interpolate: bool) -> None:
    computed = torch.tensor([[[True, False], [True, True]]])
    with pytest.raises(ValueError, match="a token of the plan's first frame is neither computed nor cached"):
        _ = ReusePlan.build(computed, past_age, interpolate=interpolate).row_counts


def test_what_a_plan_says_of_itself() -> None:
    computed = torch.tensor([[[True, True, True], [True, False, True]], [[True, True, True], [True, False, False]]])
    plan = ReusePlan.build(computed)
    assert plan.shape == (2, 2, 3)
    assert plan.row_counts == [3, 2, 3, 1]
    assert plan.rows.tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert plan.last_rows.tolist() == [3, 1, 4, 8, 6, 7]
    assert not plan.is_dense
    assert plan.is_hold
    assert plan.record_saliency is False


def test_dense_and_hold() -> None:
    everything = ReusePlan.build(torch.ones(2, 3, 4, dtype=torch.bool), interpolate=True, record_saliency=True)
    assert everything.is_dense
    assert everything.is_hold
    assert everything.record_saliency
    assert (everything.age == 1).all()
    computed = torch.tensor([[[True], [False], [True]]])
    assert not ReusePlan.build(computed, interpolate=True).is_hold
    assert ReusePlan.build(computed).is_hold


@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
def test_the_host_reads_a_plan_once(interpolate: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = computed.flatten().nonzero().squeeze(-1)
    counts = computed.sum(-1).flatten().tolist()
    with monkeypatch.context() as patch:
        ages = torch.ones(2, 5, dtype=torch.long)
        read = lists_read(patch)
        plan = ReusePlan.build(computed, ages, interpolate=interpolate)
        assert read == []
        facts = plan.row_counts, plan.is_dense, plan.is_hold
        rows = plan.rows
    assert read == [(2 * 3 + 2,)]
    assert facts == (counts, False, not interpolate)
    assert torch.equal(rows, expected)
