from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning import bidirectional
from hf_ttr.planning.bidirectional import TIME_WEIGHT, choose_corners, content_alpha
from hf_ttr.planning.importance import neighbourhood_mean
from hf_ttr.planning.plan import NEVER, ReusePlan


GRID = (2, 3)
PATCHES = 6


def settings(**changes: Any) -> TemporalReuseConfig:
    """The plainest settings: a threshold on every position's own error."""
    plain = {"max_age": None, "saliency_weight": 0, "context_weight": 0, "context_size": 3, "scene_cut": 1}
    return TemporalReuseConfig(**{**plain, **changes})


def random_walks(batch: int, frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeddings of a clip, and those of the frame before."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(batch, frames + 1, PATCHES, 4, generator=generator).mul(0.3).cumsum(1)
    return points[:, 1:], points[:, 0]


def polyline_error(
    points: torch.Tensor, corners: tuple[int, ...], past: tuple[int, torch.Tensor] | None
) -> torch.Tensor:
    """Squared errors of each frame of one position whose `corners` are computed; `past` is (age, embedding)."""
    known = [] if past is None else [(-past[0], past[1])]
    known += [(time, points[time]) for time in corners]
    errors = []
    for time in range(len(points)):
        left_time, left = [entry for entry in known if entry[0] <= time][-1]
        following = [entry for entry in known if entry[0] >= time]
        right_time, right = following[0] if following else (left_time, left)
        share = (time - left_time) / (right_time - left_time) if right_time > left_time else 0.0
        errors.append((points[time] - (1 - share) * left - share * right).square().sum())
    return torch.stack(errors)


def allowed_corners(frames: int, age: int, max_age: int | None) -> Iterator[tuple[int, ...]]:
    """Every choice of computed frames in which no token gets older than `max_age`."""
    for size in range(frames + 1):
        for corners in itertools.combinations(range(frames), size):
            times = [*([] if age >= NEVER else [-age]), *corners]
            if not times or times[0] > 0:
                continue
            gaps = [after - before for before, after in zip(times, times[1:])]
            # From one frame to the next nothing can be done about the age, as the first may be long ago.
            frame_gaps = [min(gap, after + 1) for gap, after in zip(gaps, times[1:])]
            if max_age is None or (
                all(gap <= max_age or frame_gap == 1 for gap, frame_gap in zip(gaps, frame_gaps))
                and (frames - 1 - times[-1] < max_age or times[-1] == frames - 1)
            ):
                yield corners


@pytest.mark.parametrize("context_weight", [0, 0.7])
@pytest.mark.parametrize("max_age", [None, 2, 4])
@pytest.mark.parametrize("threshold", [0.1, 0.6, 1.5])
def test_no_choice_of_corners_is_better(threshold: float, max_age: int | None, context_weight: float) -> None:
    batch, frames = 2, 5
    features, reference = random_walks(batch, frames)
    age = torch.tensor([[1, 1, 3, 7, 2, NEVER], [NEVER, 1, 1, 2, 4, 1]])
    weights = torch.rand(batch, PATCHES, generator=torch.Generator().manual_seed(1)) + 0.5
    config = settings(threshold=threshold, max_age=max_age, context_weight=context_weight)
    chosen = choose_corners(features, reference, age, weights, GRID, config)

    for stream, position in itertools.product(range(batch), range(PATCHES)):
        own_age = int(age[stream, position])

        def cost(
            corners: tuple[int, ...], stream: int = stream, position: int = position, own_age: int = own_age
        ) -> float:
            # The corners of this position are tried on its neighbours as well.
            totals = torch.zeros(PATCHES)
            for patch in range(PATCHES):
                cached = reference if age[stream, patch] < NEVER else features[:, 0]
                past = None if own_age >= NEVER else (own_age, cached[stream, patch])
                totals[patch] = polyline_error(features[stream, :, patch], corners, past).sum()
            spread = totals + context_weight * neighbourhood_mean(totals[None], GRID, 3)[0]
            return float(spread[position] * weights[stream, position] ** 2) + threshold**2 * len(corners)

        best = min(map(cost, allowed_corners(frames, own_age, max_age)))
        mine = tuple(chosen[stream, :, position].nonzero().flatten().tolist())
        assert mine in set(allowed_corners(frames, own_age, max_age))
        assert cost(mine) == pytest.approx(best, abs=5e-4)


def test_new_streams_compute_their_first_frame() -> None:
    features, _ = random_walks(2, 6)
    chosen = choose_corners(features, None, None, torch.ones(2, PATCHES), GRID, settings(threshold=0.8))
    assert chosen[:, 0].all()
    assert 0 < chosen[:, 1:].float().mean() < 1


def test_a_ramp_needs_its_ends_alone() -> None:
    ramp = torch.linspace(0, 5, 9).view(1, 9, 1, 1).repeat(1, 1, PATCHES, 2)
    chosen = choose_corners(ramp, None, None, torch.ones(1, PATCHES), GRID, settings(threshold=0.5))
    assert chosen[0, :, 0].tolist() == [True, *[False] * 7, True]


def test_a_still_picture_needs_nothing() -> None:
    features = torch.ones(1, 7, PATCHES, 4)
    age = torch.full((1, PATCHES), 5)
    chosen = choose_corners(features, features[:, 0], age, torch.ones(1, PATCHES), GRID, settings(threshold=1e-3))
    assert not chosen.any()


@pytest.mark.parametrize("max_age", [1, 2, 3])
def test_a_still_picture_is_recomputed_at_max_age(max_age: int) -> None:
    features = torch.ones(1, 7, PATCHES, 4)
    config = settings(threshold=0.5, max_age=max_age)
    age = torch.ones(1, PATCHES, dtype=torch.long)
    chosen = choose_corners(features, features[:, 0], age, torch.ones(1, PATCHES), GRID, config)
    for position in range(PATCHES):
        times = [-1, *chosen[0, :, position].nonzero().flatten().tolist()]
        assert max(after - before for before, after in zip(times, [*times[1:], 7])) <= max_age


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.6, 1.0])
def test_a_budget_is_met_by_each_stream(budget: float) -> None:
    features, reference = random_walks(3, 12)
    features[2] = reference[2, None]
    age = torch.ones(3, PATCHES, dtype=torch.long)
    config = settings(compute_budget=budget)
    chosen = choose_corners(features, reference, age, torch.ones(3, PATCHES), GRID, config, budget)
    shares = chosen.float().mean((1, 2))
    assert (shares <= budget).all()
    # Where there is enough to do the budget is used, up to what cannot be divided.
    assert (shares[:2] > budget - 0.06).all()
    assert shares[2] == 0


def test_a_budget_leaves_alone_what_is_under_the_threshold() -> None:
    features, reference = random_walks(1, 8)
    age, weights = torch.ones(1, PATCHES, dtype=torch.long), torch.ones(1, PATCHES)
    by_threshold = choose_corners(features, reference, age, weights, GRID, settings(threshold=0.8))
    both = choose_corners(features, reference, age, weights, GRID, settings(threshold=0.8, compute_budget=1), 1.0)
    assert torch.equal(both, by_threshold)


def test_a_scene_cut_computes_the_whole_frame() -> None:
    features = torch.zeros(1, 4, PATCHES, 2)
    features[0, 2:, :4] = 3.0
    age = torch.ones(1, PATCHES, dtype=torch.long)
    for scene_cut, whole in ((0.6, True), (0.7, False)):
        config = settings(threshold=0.5, scene_cut=scene_cut)
        chosen = choose_corners(features, torch.zeros(1, PATCHES, 2), age, torch.ones(1, PATCHES), GRID, config)
        assert chosen.all(-1).any().item() is whole


@pytest.mark.parametrize("budget", [None, 0.3], ids=["threshold", "budget"])
def test_streams_do_not_know_of_each_other(budget: float | None) -> None:
    features, reference = random_walks(3, 6)
    age = torch.randint(1, 4, (3, PATCHES), generator=torch.Generator().manual_seed(2))
    weights = torch.rand(3, PATCHES, generator=torch.Generator().manual_seed(3)) + 0.5
    config = settings(threshold=0.3, max_age=4, context_weight=0.5)
    together = choose_corners(features, reference, age, weights, GRID, config, budget)
    for stream in range(3):
        part = slice(stream, stream + 1)
        alone = choose_corners(features[part], reference[part], age[part], weights[part], GRID, config, budget)
        assert torch.equal(alone, together[part])


def shares(
    features: torch.Tensor, reference: torch.Tensor | None, age: torch.Tensor | None, computed: torch.Tensor
) -> torch.Tensor:
    """`content_alpha` of a plan, whose alpha is linear in time."""
    by_time = ReusePlan.build(computed, age, interpolate=True).alpha
    return content_alpha(features, reference, age, computed, by_time, torch.ones(len(features)))


def two_corners(values: list[float], length: float) -> torch.Tensor:
    """One patch that is `length` times each value along some direction, computed in its first and last frame."""
    features = length * torch.tensor(values).view(1, -1, 1, 1) * torch.tensor([0.6, 0.8])
    computed = torch.zeros(1, len(values), 1, dtype=torch.bool)
    computed[:, [0, -1]] = True
    return shares(features, None, None, computed)[0, :, 0]


def test_a_step_is_followed_and_the_share_stays_between_the_corners() -> None:
    alpha = two_corners([0.0, 0.0, 0.0, 1.0, 1.5, -0.5, 1.0], length=50.0)
    torch.testing.assert_close(alpha, torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]), atol=1e-4, rtol=0)


def test_between_equal_corners_time_decides() -> None:
    assert two_corners([1.0] * 5, length=3.0).tolist() == [0.0, 0.25, 0.5, 0.75, 0.0]


def test_content_and_time_count_alike_at_the_time_weight() -> None:
    alpha = two_corners([0.0, 1.0, 1.0, 0.0, 1.0], length=TIME_WEIGHT**0.5)
    torch.testing.assert_close(alpha, torch.tensor([0.0, 0.625, 0.75, 0.375, 0.0]))


def test_the_time_weight_is_relative_to_the_norm_of_the_embeddings() -> None:
    features, reference = random_walks(2, 9)
    age, computed = torch.ones(2, PATCHES, dtype=torch.long), torch.zeros(2, 9, PATCHES, dtype=torch.bool)
    computed[:, -1] = True
    by_time = ReusePlan.build(computed, age, interpolate=True).alpha
    scale = torch.tensor([0.5, 8.0])
    larger = [points * scale.view(-1, *[1] * (points.dim() - 1)) for points in (features, reference)]
    found = content_alpha(larger[0], larger[1], age, computed, by_time, scale)
    torch.testing.assert_close(found, shares(features, reference, age, computed))


def test_content_is_compared_with_the_cached_corner_where_it_is_valid() -> None:
    reference = torch.zeros(1, 2, 1)
    features = torch.tensor([[[[9.0], [5.0]], [[9.0], [7.0]], [[12.0], [7.0]]]])
    computed = torch.tensor([[[False, True], [False, False], [True, False]]])
    alpha = shares(features, reference, torch.tensor([[1, NEVER]]), computed)
    # The first position goes from 0 to 12 and is at 9; the second is held after its first frame.
    torch.testing.assert_close(alpha[0, :, 0], torch.tensor([0.75, 0.75, 0.0]), atol=1e-3, rtol=0)
    assert not alpha[0, :, 1].any()


def test_shares_by_content_come_nearer_than_linear_ones() -> None:
    features, reference = random_walks(2, 9)
    age = torch.ones(2, PATCHES, dtype=torch.long)
    computed = torch.zeros(2, 9, PATCHES, dtype=torch.bool)
    computed[:, -1] = True
    alpha = shares(features, reference, age, computed)[..., None]
    linear = torch.arange(1, 10).view(1, -1, 1, 1) / 9
    errors = [
        (torch.lerp(reference[:, None], features[:, -1:], share) - features)[:, :-1].square().sum((1, 3))
        for share in (alpha, linear)
    ]
    assert ((alpha >= 0) & (alpha <= 1)).all()
    assert (errors[0] <= errors[1] + 1e-5).all()


def test_many_tokens_at_once_or_few_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features, reference = random_walks(2, 9)
    age = torch.tensor([1, 4]).view(2, 1).expand(2, PATCHES).contiguous()
    computed = torch.rand(2, 9, PATCHES, generator=torch.Generator().manual_seed(0)) < 0.3
    found = shares(features, reference, age, computed)
    monkeypatch.setattr(bidirectional, "TOKENS_AT_ONCE", 7)
    assert found.any() and torch.equal(shares(features, reference, age, computed), found)


@pytest.mark.parametrize("at_once", [1, 4 * PATCHES, 2**14], ids=["frame-by-frame", "four-frames", "all"])
@pytest.mark.parametrize("past", ["new", "cached", "partly"])
def test_shares_without_asking_which_tokens_lie_between(
    past: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, reference = random_walks(2, 9)
    computed = torch.rand(2, 9, PATCHES, generator=torch.Generator().manual_seed(0)) < 0.3
    age = torch.tensor([1, 4]).view(2, 1).repeat(1, PATCHES)
    if past == "partly":
        age[:, ::2] = NEVER
    computed[:, 0] |= (age == NEVER) if past != "new" else True
    known = (None, None) if past == "new" else (reference, age)
    expected = shares(features, *known, computed)
    monkeypatch.setattr(bidirectional, "FRAME_TOKENS_AT_ONCE", at_once)
    monkeypatch.setattr(bidirectional, "tokens_between", bidirectional.tokens_of_frames)
    assert expected.any()
    torch.testing.assert_close(shares(features, *known, computed), expected)
