from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseConfig
from hf_ttr.planning.causal import choose_changed
from hf_ttr.planning.plan import NEVER


GRID = (3, 4)
POSITIONS = 12


def settings(**changes: Any) -> TemporalReuseConfig:
    """The plainest settings: a threshold on every position's own error."""
    plain = {"mode": "causal", "max_age": None, "saliency_weight": 0, "context_weight": 0, "scene_cut": 1}
    return TemporalReuseConfig(**{**plain, **changes})


def levels(*frames: list[float]) -> torch.Tensor:
    """Features of one dimension: frame t has `frames[t]` at its first positions and 0 at the others."""
    features = torch.zeros(1, len(frames), POSITIONS, 1)
    for time, values in enumerate(frames):
        features[0, time, : len(values), 0] = torch.tensor(values)
    return features


def choose(
    features: torch.Tensor,
    config: TemporalReuseConfig,
    age: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """
    Plans frames that follow a computed frame of zeros; `age` is that of its positions, 1 by default.

    The budget of the settings is taken as that of the patches.
    """
    batch, _, positions, dim = features.shape
    age = torch.ones(batch, positions, dtype=torch.long) if age is None else age
    weights = torch.ones(batch, positions) if weights is None else weights
    reference = torch.zeros(batch, positions, dim)
    return choose_changed(features, reference, age, None, weights, GRID, config, config.compute_budget)[0]


def chosen_positions(chosen: torch.Tensor, frame: int = 0, stream: int = 0) -> list[int]:
    return chosen[stream, frame].nonzero().flatten().tolist()


def test_new_streams_compute_their_first_frame_and_then_what_changed() -> None:
    features = levels([0.0], [0.0, 1.0], [0.0, 1.0])
    chosen, _ = choose_changed(features, None, None, None, torch.ones(1, POSITIONS), GRID, settings(threshold=0.5))
    assert chosen[0, 0].all()
    assert chosen_positions(chosen, 1) == [1]
    assert chosen_positions(chosen, 2) == []


def test_the_reference_is_the_last_computation_not_the_last_frame() -> None:
    drift = levels([0.2], [0.4], [0.6], [0.8], [1.0], [1.2])
    chosen = choose(drift, settings(threshold=0.5))
    assert chosen[0, :, 0].tolist() == [False, False, True, False, False, True]
    assert not chosen[0, :, 1:].any()


def test_small_errors_add_up() -> None:
    # Squared errors of 0.04 and 0.01 a frame; a token is computed when their sum exceeds 0.13.
    chosen = choose(levels(*[[0.2, 0.1]] * 16), settings(threshold=0.13**0.5))
    assert chosen[0, :, 0].tolist() == [time == 3 for time in range(16)]
    assert chosen[0, :, 1].tolist() == [time == 13 for time in range(16)]
    assert not chosen[0, :, 2:].any()


def test_what_small_errors_add_up_to_is_no_scene_cut() -> None:
    still = [0.2] * 7 + [0.01] * 5
    chosen = choose(levels(*[still] * 4), settings(threshold=0.13**0.5, scene_cut=0.5))
    assert chosen_positions(chosen, 3) == list(range(7))


def test_what_a_budget_left_is_computed_in_a_later_frame() -> None:
    features = levels(*[[0.7, 0.9, 0.8]] * 3)
    chosen = choose(features, settings(compute_budget=1 / 12))
    # What was left has waited, and comes before what is as far from its reference but did not.
    assert [chosen_positions(chosen, frame) for frame in range(3)] == [[1], [2], [0]]


def test_an_error_at_the_threshold_is_reused() -> None:
    chosen = choose(levels([0.5, 0.50001]), settings(threshold=0.5))
    assert chosen_positions(chosen) == [1]


def test_threshold_zero_computes_whatever_differs() -> None:
    chosen = choose(levels([0.0, 1e-6, -1e-6]), settings(threshold=0, compute_budget=1.0))
    assert chosen_positions(chosen) == [1, 2]


@pytest.mark.parametrize("max_age", [1, 2, 3, 5])
def test_max_age_counts_the_frames_since_the_last_computation(max_age: int) -> None:
    chosen = choose(torch.zeros(1, 8, POSITIONS, 1), settings(threshold=0.5, max_age=max_age))
    # The cached frame is at time -1; the next computation is max_age frames after the last.
    due = [(time + 1) % max_age == 0 for time in range(8)]
    assert chosen.all(-1)[0].tolist() == due
    assert chosen.any(-1)[0].tolist() == due


def test_max_age_is_kept_per_position() -> None:
    age = torch.ones(1, POSITIONS, dtype=torch.long)
    age[0, 3], age[0, 5] = 3, 2
    chosen = choose(torch.zeros(1, 3, POSITIONS, 1), settings(threshold=0.5, max_age=3), age=age)
    assert [chosen_positions(chosen, frame) for frame in range(3)] == [
        [3],
        [5],
        [position for position in range(POSITIONS) if position not in (3, 5)],
    ]


@pytest.mark.parametrize("budget", [None, 0.1], ids=["threshold", "budget"])
@pytest.mark.parametrize("max_age", [None, 4])
def test_positions_that_are_not_valid_are_computed_whatever_the_settings(
    max_age: int | None, budget: float | None
) -> None:
    age = torch.ones(1, POSITIONS, dtype=torch.long)
    age[0, [2, 7, 8]] = NEVER
    config = settings(threshold=0.5, max_age=max_age, compute_budget=budget)
    chosen = choose(torch.zeros(1, 2, POSITIONS, 1), config, age=age)
    assert chosen_positions(chosen, 0) == [2, 7, 8]
    assert chosen_positions(chosen, 1) == []


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(1 / 12, [1]), (3 / 12, [0, 1, 4]), (4 / 12, [0, 1, 2, 4]), (1.0, [0, 1, 2, 3, 4])],
    ids=str,
)
def test_a_budget_takes_the_largest_errors_of_the_frame(budget: float, expected: list[int]) -> None:
    chosen = choose(levels([0.7, -0.9, 0.6, 0.5, 0.8]), settings(compute_budget=budget))
    assert chosen_positions(chosen) == expected


def test_a_budget_leaves_alone_what_is_under_the_threshold() -> None:
    chosen = choose(levels([0.7, -0.9, 0.6, 0.5, 0.8]), settings(compute_budget=1.0, threshold=0.65))
    assert chosen_positions(chosen) == [0, 1, 4]


def test_a_budget_is_spent_on_the_oldest_first() -> None:
    age = torch.ones(1, POSITIONS, dtype=torch.long)
    age[0, 9] = 6
    chosen = choose(levels([0.7, 0.9]), settings(compute_budget=2 / 12, max_age=6), age=age)
    assert chosen_positions(chosen) == [1, 9]


@pytest.mark.parametrize(("changed", "cut"), [(6, False), (7, True), (11, True)])
def test_a_scene_cut_computes_the_whole_frame(changed: int, cut: bool) -> None:
    chosen = choose(levels([1.0] * changed), settings(threshold=0.5, scene_cut=0.5))
    assert chosen_positions(chosen) == list(range(POSITIONS if cut else changed))


def test_a_scene_cut_overrules_the_budget() -> None:
    chosen = choose(levels([1.0] * 7, [1.0] * 7), settings(compute_budget=0.1, scene_cut=0.5))
    assert chosen[0, 0].all()
    assert not chosen[0, 1].any()


def test_noise_is_no_scene_cut_for_a_budget() -> None:
    chosen = choose(levels([0.01] * 11), settings(compute_budget=0.25, scene_cut=0.5))
    assert len(chosen_positions(chosen)) == 3


def test_weights_scale_the_errors() -> None:
    weights = torch.ones(1, POSITIONS)
    weights[0, 0], weights[0, 1] = 0.4, 2.0
    chosen = choose(levels([1.0, 0.3, 0.3]), settings(threshold=0.5), weights=weights)
    assert chosen_positions(chosen) == [1]


@pytest.mark.parametrize(("pauses", "planned"), [(True, 3), (False, 6)])
def test_planning_stops_at_a_whole_frame_if_it_is_to_pause(pauses: bool, planned: int) -> None:
    features, weights = torch.zeros(2, 6, POSITIONS, 1), torch.ones(2, POSITIONS)
    features[1, 2:] = 5.0
    age = torch.ones(2, POSITIONS, dtype=torch.long)
    past = (torch.zeros(2, POSITIONS, 1), age, None)
    chosen, _ = choose_changed(features, *past, weights, GRID, settings(threshold=0.5), pauses_when_whole=pauses)
    assert chosen.shape == (2, planned, POSITIONS)


@pytest.mark.parametrize("changes", [{}, {"compute_budget": 0.3}, {"max_age": 2}], ids=str)
def test_streams_do_not_know_of_each_other(changes: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 5, POSITIONS, 4, generator=generator).cumsum(1) * 0.3
    weights = torch.rand(3, POSITIONS, generator=generator) + 0.5
    age = torch.randint(1, 4, (3, POSITIONS), generator=generator)
    config = settings(threshold=1.5, context_weight=1.0, context_size=3, **changes)
    together = choose(features, config, age, weights)
    assert 0 < together.float().mean() < 1
    for stream in range(3):
        part = slice(stream, stream + 1)
        assert torch.equal(choose(features[part], config, age[part], weights[part]), together[part])


def test_frame_by_frame_is_the_same_as_at_once() -> None:
    features = torch.randn(2, 6, POSITIONS, 4, generator=torch.Generator().manual_seed(1)).cumsum(1) * 0.2
    config = settings(threshold=0.9, max_age=3, context_weight=1.0)
    together = choose(features, config)
    reference, age, debt = torch.zeros(2, POSITIONS, 4), torch.ones(2, POSITIONS, dtype=torch.long), None
    for time in range(6):
        frame = features[:, time : time + 1]
        chosen, debt = choose_changed(frame, reference, age, debt, torch.ones(2, POSITIONS), GRID, config)
        chosen = chosen[:, 0]
        assert torch.equal(chosen, together[:, time])
        reference = torch.where(chosen[..., None], features[:, time], reference)
        age = torch.where(chosen, 1, age + 1)
