"""The benchmark of long streams: what is done to frames, which frames a loop shows, and what its tables say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import hf_ttr
from benchmarks import long_streams
from benchmarks.long_streams import CHANGES, ZONES, call_lengths, looped, of_age, run, zone_of
from benchmarks.table import as_markdown

from ..tiny import make_clip, tiny_parent


GREY = np.full((4, 4, 3), 200, np.uint8)


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ("as recorded", {0: 200, 150: 200}),
        ("lamp", {0: 200, 99: 200, 100: 120, 199: 120, 200: 200}),
        ("exposure", {0: 200, 100: 170, 200: 140, 300: 170, 400: 200}),
        ("mains", {0: 194, 1: 200, 2: 206, 3: 194}),
        ("dark start", {0: 0, 9: 0, 10: 200}),
        ("grey start", {0: 128, 9: 128, 10: 200}),
    ],
)
def test_light_changes_as_it_says(change: str, values: dict[int, int]) -> None:
    for number, value in values.items():
        changed = CHANGES[change](GREY, number)
        assert changed.dtype == np.uint8 and changed.shape == GREY.shape and (changed == value).all()


def test_noise_is_the_same_in_every_run() -> None:
    frame = np.full((64, 64, 3), 128, np.uint8)
    one, same, other = (CHANGES["noise"](frame, number) for number in (1, 1, 2))
    assert (one == same).all() and (one != other).any()
    assert one.std() == pytest.approx(4, abs=0.2) and one.mean() == pytest.approx(128, abs=0.2)


def test_a_loop_has_no_cut_or_starts_again() -> None:
    assert looped(4, "to and fro") * 2 == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1]
    assert looped(3, "again from the start") == [0, 1, 2]


def test_calls_end_where_zones_do() -> None:
    assert [list(call_lengths(frames)) for frames in (1, 10, 11, 26, 43)] == [
        [1],
        [1, 9],
        [1, 9, 1],
        [1, 9, 16],
        [1, 9, 16, 16, 1],
    ]
    assert [zone_of(place) for place in (0, 1, 9, 10)] == [ZONES[0], ZONES[1], ZONES[1], ZONES[2]]


def test_whole_frames_are_told_apart_by_their_age() -> None:
    assert of_age([0, 24, 48, 60, 83]) == 2


def test_calls_of_several_frames_see_the_past_alone() -> None:
    reuse = hf_ttr.with_temporal_reuse(tiny_parent(), {"threshold": 0.3, "mode": "causal"})
    clip = make_clip(batch=1, frames=7)[0]
    found, single = run(reuse, clip.split([1, 4, 2])), run(reuse, clip.split(1))
    torch.testing.assert_close(found.logits, single.logits)
    assert found.whole == single.whole and found.whole[0] == 0 and found.shares.shape == (7,)
    assert found.shares.mean() == pytest.approx(single.shares.mean())


def test_tables() -> None:
    values = {"frames": 50, "share": 0.2, "kl": 0.01, "agreement": 0.9, "flicker": 0.1, "dense_flicker": 0.2}
    values |= {"whole": 3, "whole_of_age": 1}
    pair = {"frames": 9, "kl": -1e-9, "share": 0.3, "alone": {"kl": 0.02, "share": 0.4}}
    joint = {"frames": 100, "cuts": 1, "caught": 0, "missed": ["b.mp4"], "zones": {ZONES[0]: pair}}
    joint["videos"] = {"b.mp4": {**pair, "whole": 2, "whole_of_age": 1}}
    periods = [
        {"frames": 4, "share": 0.2, "kl": 0.01 * number, "largest_kl": 0.5, "resident_mib": 100.0 + number}
        for number in range(1, long_streams.PERIODS + 1)
    ]
    rows: list[dict[str, Any]] = [
        {"key": ["alone", "causal", "0.1", "a.mp4"], **values},
        {"key": ["alone", "causal", "0.1", "b.mp4"], **values, "kl": 0.03},
        {"key": ["joint", "by name", "0.1"], **joint},
        {"key": ["light", "lamp", "a.mp4"], **values},
        {"key": ["looped", "to and fro", "a.mp4"], "frames": 40, "minutes": 2.0, "periods": periods},
    ]
    result = {"model": "tiny", "rows": rows}
    text = as_markdown(long_streams.alone_table(result))
    assert "(100 in all)" in text and "| reuse, causal | 0.1 | 20.0% | 0.0200 |" in text and "b.mp4 (0.0300)" in text
    text = as_markdown(long_streams.joint_table(result))
    assert "Missed: b.mp4 (by name, 0.1)." in text and "| 0 of 1 | 0.0000 (0.0200); 30.0% (40.0%) |" in text
    assert "| b.mp4 | 0.0000 (0.0200); 30.0% (40.0%) | 2 |" in text
    assert "| a lamp goes off and on every 100 frames (gain 0.6) | 20.0% |" in as_markdown(
        long_streams.light_table(result)
    )
    text = as_markdown(long_streams.loop_table(result))
    assert "| 40 (2 min) | 0.01000; 20.00% | 0.02000; 20.00% | 0.05000; 20.00% |" in text and "101 / 110 MiB" in text
