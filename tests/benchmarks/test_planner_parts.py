"""What the ablation puts in place of parts of the planner, and the tables of it, of look-ahead and of packing."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from benchmarks import ablation, corners, look_ahead, packing
from benchmarks.ablation import Row, at_ratio
from benchmarks.fidelity import OTHERS, STATIC
from benchmarks.table import Block, Table
from benchmarks.timing import compare_in_turn
from hf_ttr.planning import planner
from hf_ttr.planning.bidirectional import best_corners, choose_corners

from ..tiny import make_clip, tiny_parent, tiny_video_classifier


GRID = (4, 4)


def arguments(frames: int = 12, budget: float | None = 0.25) -> tuple[Any, ...]:
    """What a chooser gets, after a first frame: a walk at each position."""
    generator = torch.Generator().manual_seed(0)
    walk = torch.randn(1, frames + 1, 16, 3, generator=generator).cumsum(1)
    age = torch.ones(1, 16, dtype=torch.long)
    config = hf_ttr.TemporalReuseConfig(compute_budget=budget, scene_cut=1.0)
    return walk[:, 1:], walk[:, 0], age, torch.ones(1, 16), GRID, config, budget, None


def test_pixels_of_a_patch_are_its_own_and_their_means() -> None:
    clip = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    whole, means, colour = (corners.patch_pixels(clip, 4, side) for side in (4, 2, 1))
    assert whole.shape == (2, 4, 48) and means.shape == (2, 4, 12)
    assert torch.equal(whole[1, 2], clip[1, :, 4:, :4].flatten())
    assert torch.equal(means[0, 1, 0], clip[0, 0, :2, 4:6].mean())
    assert torch.equal(colour[0, 3], clip[0, :, 4:, 4:].mean((1, 2)))


def test_the_embeddings_as_a_signal_are_the_default_planner_whatever_their_scale() -> None:
    features, reference, *rest = arguments()
    signal = torch.cat([reference[:, None], features], dim=1)
    expected = choose_corners(features, reference, *rest)
    assert 0 < expected.sum() <= 0.25 * expected.numel()
    for factor in (1.0, 4096.0):
        assert torch.equal(corners.by_signal(factor * signal)(features, reference, *rest), expected)
    other = corners.by_signal(signal.flip(2))(features, reference, *rest)
    assert not torch.equal(other, expected)


def test_random_corners_are_as_many_at_every_position() -> None:
    for budget, counts in ((0.25, {3}), (0.2, {2, 3})):
        chosen = corners.random_corners(*arguments(budget=budget))
        assert chosen.shape == (1, 12, 16) and set(chosen.sum(1).flatten().tolist()) == counts


def test_random_times_keep_the_number_of_corners_of_each_position() -> None:
    expected, chosen = choose_corners(*arguments()), corners.random_times(*arguments())
    assert torch.equal(chosen.sum(1), expected.sum(1)) and not torch.equal(chosen, expected)


def test_greedy_corners_and_whole_frames_take_what_the_planner_hands_over() -> None:
    assert corners.greedy_corners(*arguments()).sum() == int(0.25 * 12 * 16)
    whole = corners.whole_frames(5)(*arguments())
    assert whole.all(-1).flatten().nonzero().flatten().tolist() == [4, 9, 11]


def test_errors_of_holding_are_distances_from_the_last_corner() -> None:
    points = torch.tensor([[[0.0], [1.0], [3.0], [3.0]]])
    segments, tail = corners.hold_errors(points @ points.transpose(1, 2), torch.tensor([1]), None)
    infinite = torch.inf
    expected = [[0, 1, 10], [0, 4, infinite], [0, infinite, infinite], [infinite] * 3]
    assert segments[0].tolist() == expected
    assert tail[0].tolist() == [19, 8, 0, 0]
    # Held, a step costs one corner, right where it is.
    found = best_corners(segments, tail, torch.tensor([[1.5]]))
    assert found[0, 0].tolist() == [True, False, True, False]


def test_without_shares_reused_tokens_are_the_last_computed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    clip, plans = make_clip(batch=1), []
    model = tiny_video_classifier(compute_budget=0.4)
    build = planner.Planner.plan
    monkeypatch.setattr(planner.Planner, "plan", lambda *given: plans.append(build(*given)) or plans[-1])
    shares = []
    for stand_in in (planner.content_alpha, corners.linear_shares, corners.no_shares):
        monkeypatch.setattr(planner, "content_alpha", stand_in)
        model(clip)
        shares.append(plans[-1].alpha)
    content, linear, none = shares
    assert not torch.equal(content, linear) and not content[linear == 0].any()
    assert linear.max() > 0 and not none.any()
    between = linear[linear > 0]
    steps = torch.cat([torch.arange(1, gap) / gap for gap in range(2, 7)])
    assert (between[:, None] - steps).abs().amin(1).max() < 1e-6


def test_the_largest_setting_that_saves_enough_is_found() -> None:
    def measure(setting: float) -> Row:
        return Row("", "", setting, 1 / setting, 0.0, 1.0)

    row = at_ratio(measure, 4.0, 0.0, 1.0, steps=10)
    assert 0.249 < row.setting <= 0.25
    assert at_ratio(measure, 4.0, 0.5, 1.0).setting == 0.5


def tables_of(block: Block) -> list[Table]:
    return [part for part in block if isinstance(part, Table)]


def test_the_ablation_has_a_table_for_each_kind_of_change() -> None:
    rows = [
        {"video": video, "method": method, "setting": setting, "kl": kl, "encoder_ratio": ratio}
        for video in (STATIC[0], OTHERS[0])
        for method, setting, kl, ratio in (
            ("default", 4.0, 0.01, 4.1),
            ("held", 4.0, 0.02, 4.0),
            ("max_age 8", 4.0, 0.001, 3.5),
            ("whole frames only, every 4", 0.0, 0.5, 4.2),
        )
    ]
    tables = tables_of(ablation.table({"rows": rows}))
    assert len(tables) == len(ablation.TABLES)
    assert tables[-1].header == ["planner", "1 static, 4x", "1 others, 4x", "relative to the default"]
    assert tables[-1].rows == [
        ["default", "0.0100", "0.0100", ""],
        ["held", "0.0200", "0.0200", "2.00 (0 of 2 lower)"],
    ]
    assert tables[3].rows[1] == ["whole frames only, every 4", "0.5000 at 4.2x", "0.5000 at 4.2x", ""]
    assert tables[0].rows[1] == ["max_age 8", "0.0010 at 3.5x", "0.0010 at 3.5x", ""]
    methods = {*ablation.SETTINGS, *ablation.CHOOSERS, *ablation.SHARES, *ablation.PIXELS, *ablation.WHOLE_FRAMES}
    assert {name for names in ablation.TABLES.values() for name in names} == {*methods, ablation.NORMED}


def test_the_table_of_look_ahead_says_where_less_was_saved() -> None:
    rows = [
        {
            "video": video,
            "pieces": pieces,
            "control": control,
            "setting": 8.0,
            "encoder_ratio": 4.4 if pieces == 1 and control == "budget" and video == STATIC[1] else 8.0,
            "kl": 0.2 / pieces,
            "agreement": 0.5,
        }
        for video in STATIC[:2]
        for pieces in (1, 4)
        for control in look_ahead.CONTROLS
    ]
    tables = tables_of(look_ahead.table({"rows": rows}))
    assert tables[0].rows == [["1, causal", "0", "0.2000"], ["4", "3", "0.0500"]]
    assert tables[2].rows[0][2] == "0.2000 at 6.2x" and tables[3].rows[1] == ["4", "3", "50.0%"]


def test_corners_are_drawn_evenly_and_in_bursts() -> None:
    even, bursts = (packing.random_rows(spread, 0.1, 16, 196) for spread in packing.SPREADS)
    assert even.shape == bursts.shape == (1, 16, 196)
    assert abs(even.sum() / even.numel() - 0.1) < 0.02 and abs(bursts.sum() / bursts.numel() - 0.1) < 0.01
    counts = bursts.sum(-1)[0]
    assert counts[3::4].tolist() == [55] * 4 and counts[:3].tolist() == [8] * 3
    assert even.sum(-1).max() < 2 * even.sum(-1).float().mean()


def test_padding_adds_rows_up_to_the_frame_of_most() -> None:
    drawn = packing.random_rows("bursts", 0.1, 16, 196)
    padded = packing.padded(drawn)
    assert set(padded.sum(-1).flatten().tolist()) == {55} and bool((padded | ~drawn).all())


@torch.no_grad()
def test_every_way_computes_the_given_corners() -> None:
    model = hf_ttr.with_temporal_reuse(tiny_parent())
    clip = make_clip(batch=1)
    drawn = packing.random_rows("even", 0.3, 6, 36)
    for frames in (6, 4, 1):
        start = model(clip[:, :1]).past_key_values
        reports = packing.carried_out(model, clip[:, 1:], drawn, frames)(start)
        assert len(reports) == -(-6 // frames)
        assert sum(report.computed_tokens.item() for report in reports) == drawn.sum() + 6


def test_the_table_of_packing_has_a_part_for_each_spread() -> None:
    values = {"rows": 496, "multiply_add_ratio": 6.0, "wall_clock_ratio": 3.0, "realised": 0.5, "dense_seconds": 2.2}
    rows = [{"key": ["10%", spread], "ways": dict.fromkeys(packing.WAYS, values)} for spread in packing.SPREADS]
    block = packing.table({"rows": rows})
    tables = tables_of(block)
    assert block[0] == "10% computed, about the same in every frame; the dense batch took 2.2 s:"
    assert [len(table.rows) for table in tables] == [len(packing.WAYS)] * 2
    assert tables[0].rows[1] == [list(packing.WAYS)[1], "496", "6.00x fewer", "3.00x faster", "50%"]


def test_ways_run_in_turn_and_each_gets_what_is_prepared() -> None:
    events: list[str] = []
    ways = {name: lambda given, name=name: events.append(name + given) for name in "ab"}
    found = compare_in_turn(lambda: events.append("dense"), ways, 2, prepare=lambda: "!")
    assert events == ["dense", "a!", "b!"] * 3
    assert list(found) == ["a", "b"] and set(found["a"]) == {"dense_seconds", "reuse_seconds", "wall_clock_ratio"}
