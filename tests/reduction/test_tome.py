from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseConfig, TemporalReuseVideoMAEConfig, TemporalReuseViTConfig
from hf_ttr.reduction import ToMe
from hf_ttr.reduction.base import ModelShape
from hf_ttr.reduction.row_reduction import RowReduction

from ..tiny import TINY_VIDEOMAE, TINY_VIT
from .loops import merge_by_loops


def shape(tokens: int, layers: int = 3, protected: int = 1) -> ModelShape:
    return ModelShape("model", layers, tokens, hidden_size=5, heads=2, key_size=6, protected=protected)


def random_rows(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("protected", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("counts", "r"),
    [([20], 6), ([20, 20, 20], 9), ([1, 20, 7, 2, 19, 0, 3, 20], 8), ([5, 4], 10)],
    ids=["one", "equal", "ragged", "clamped"],
)
def test_merging_is_that_of_loops(counts: list[int], r: int, protected: int) -> None:
    model = shape(20, protected=protected)
    reduction = RowReduction([ToMe(r=r)], model, counts, torch.device("cpu"))
    reduction.sizes = reduction.sizes.double()
    states = initial = random_rows(sum(counts), 5, 0)
    expected = list(states.split(counts))
    sizes = [torch.ones(count, dtype=torch.float64) for count in counts]
    places = [torch.arange(count) for count in counts]
    for layer in range(model.layers):
        keys = random_rows(len(states), 12, layer + 1)
        heads = keys.view(1, -1, 2, 6).transpose(1, 2)
        reduction.observe(layer, heads, heads, 1.0)
        mean_keys = keys.view(-1, 2, 6).mean(1).split(reduction.sets.counts)
        states = reduction.reduce(layer, states[None])[0]
        for number, count in enumerate(counts):
            merges = min(r * count // 20, (len(expected[number]) - protected) // 2)
            if merges > 0:
                expected[number], sizes[number], place = merge_by_loops(
                    expected[number], sizes[number], mean_keys[number], merges, protected
                )
                places[number] = torch.tensor(place)[places[number]]
        assert reduction.sets.counts == [len(rows) for rows in expected] == reduction.counts[layer + 1]
        torch.testing.assert_close(states, torch.cat(expected), rtol=0, atol=1e-6)
        torch.testing.assert_close(reduction.sizes, torch.cat(sizes), rtol=0, atol=1e-6)
    # Nothing but merging changed the rows, so each is the mean of what became it.
    torch.testing.assert_close(reduction.mean_over_members(initial), states, rtol=0, atol=1e-6)
    everything = torch.cat([rows[place] for rows, place in zip(expected, places)])
    assert len(states) < len(initial)
    torch.testing.assert_close(reduction.expand(states[None, None])[0, 0], everything, rtol=0, atol=1e-6)


def test_schedules_merge_as_much_in_all() -> None:
    assert ToMe(r=8).per_layer(4) == [8, 8, 8, 8]
    assert ToMe(r=8, schedule="increasing").per_layer(4) == [0, 5, 10, 16]
    assert ToMe(r=[5, 0, 1]).per_layer(3) == [5, 0, 1]


@pytest.mark.parametrize(("r", "idle"), [(0, True), ([0, 0, 0], True), (1, False), ([0, 0, 1], False)])
def test_nothing_to_merge_is_known(r: Any, idle: bool) -> None:
    assert ToMe(r=r).is_idle == idle


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"r": -1}, "r is -1, but must be a whole number of rows of at least 0"),
        ({"r": 1.5}, "r is 1.5, but must be a whole number of rows of at least 0"),
        ({"r": 19}, "r is 19, but must be at most half of the 37 tokens in any layer, 18"),
        ({"r": 10, "schedule": "decreasing"}, "at most half of the 37 tokens in any layer, 18"),
        ({"r": [1, 2]}, "r is (1, 2), but must be a list of 3 numbers, one for each layer"),
        ({"schedule": "up"}, "schedule is 'up', but must be one of 'constant', 'decreasing', 'increasing'"),
        ({"r": [1, 2, 3], "schedule": "decreasing"}, "must be 'constant' where r is a list"),
        ({"proportional_attention": 1}, "proportional_attention is 1, but must be True or False"),
        (
            {"ratio": 1},
            "reduction 'tome' has no setting 'ratio'; its settings are r, schedule, proportional_attention",
        ),
    ],
    ids=str,
)
def test_bad_settings_are_refused_when_the_config_is_made(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"reduction": [{"method": "tome", **settings}]})
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_window_may_merge_half_of_its_slots() -> None:
    for r in (72, 73):
        settings = {"reduction": ToMe(r=r)}
        if r == 72:
            TemporalReuseVideoMAEConfig(**TINY_VIDEOMAE, temporal_reuse=settings)
        else:
            with pytest.raises(ValueError, match="at most half of the 144 tokens in any layer, 72"):
                TemporalReuseVideoMAEConfig(**TINY_VIDEOMAE, temporal_reuse=settings)


@pytest.mark.parametrize("value", ["tome", 3, [{"r": 3}], [{"method": "none"}], ["tome"]], ids=str)
def test_what_is_no_method_is_refused_in_one_sentence(value: Any) -> None:
    with pytest.raises(ValueError, match="reduction") as raised:
        TemporalReuseConfig(reduction=value)
    assert "\n" not in str(raised.value)


def test_settings_survive_a_round_trip(tmp_path: Any) -> None:
    config = TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"reduction": [ToMe(r=[3, 2, 1]), ToMe(r=1)]})
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())["temporal_reuse"]["reduction"]
    assert saved[0] == {"method": "tome", "r": [3, 2, 1], "schedule": "constant", "proportional_attention": True}
    loaded = TemporalReuseViTConfig.from_pretrained(tmp_path)
    assert loaded.temporal_reuse.reduction == [ToMe(r=(3, 2, 1)), ToMe(r=1)]
