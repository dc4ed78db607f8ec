"""Maps of what became of every token: held against what the report counts, and against loops over tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hf_ttr.execution.token_maps import TokenMaps, by_first_token

from ..models.cases import ModelCase
from ..models.test_modeling_temporal_reuse_videomae import videomae_case
from ..models.test_modeling_temporal_reuse_vit import vit_case


NEAR = {"context_weight": 0.1, "context_size": 3}
VIT, CAUSAL, VIDEOMAE = (
    vit_case("maps", "bidirectional", NEAR),
    vit_case("maps", "causal", NEAR),
    videomae_case("maps", "bidirectional", NEAR),
)
CASES = pytest.mark.parametrize("case", [VIT, CAUSAL, VIDEOMAE], ids=str)
TOME, PRUNING = {"method": "tome", "r": 4}, {"method": "pruning", "keep": 0.6}
SETTINGS = pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reduction": TOME},
        {"reduction": PRUNING},
        {"reduction": [TOME, PRUNING]},
        {"reduction": [TOME, PRUNING], "mode": "off"},
    ],
    ids=["reuse", "tome", "pruning", "tome-pruning", "no-reuse"],
)


def maps_of(output: Any) -> TokenMaps:
    maps: TokenMaps = output.reuse.maps
    return maps


@CASES
@SETTINGS
@torch.no_grad()
def test_maps_say_what_the_report_counts(case: ModelCase, settings: dict[str, Any]) -> None:
    model = case.model(base=True, **settings)
    output = model(case.clip(), output_token_maps=True, output_reuse_plan=True)
    maps, report = maps_of(output), output.reuse
    assert torch.equal(maps.computed, report.plan)
    for name, tensor in maps.items():
        assert tensor.shape[:3] == report.plan.shape, name
    assert torch.equal(maps.age == 0, maps.computed)
    assert (maps.error[maps.computed] == 0).all()
    groups = maps.groups.flatten(1, 2)
    layers = report.computed_by_layer.shape[1]
    assert groups.shape[-1] == layers + 1
    for layer in range(layers):
        for stream, own in enumerate(groups[..., layer]):
            assert len(own[own >= 0].unique()) == report.computed_by_layer[stream, layer]
            computed = maps.computed[stream].flatten()
            # With a row that is left out goes what was merged into it.
            pruned, merged = report.pruned_by_layer[stream, layer], report.merged_by_layer[stream, layer]
            assert pruned <= int((own[computed] == -1).sum()) <= pruned + (merged if pruned else 0)
    # A group has the number of its first token, and never falls apart.
    for layer in range(layers + 1):
        for own, next_own in zip(groups[..., layer], groups[..., min(layer + 1, layers)]):
            for number in own[own >= 0].unique().tolist():
                members = (own == number).nonzero().squeeze(-1)
                assert members[0] == number
                assert len(next_own[members].unique()) == 1


@torch.no_grad()
def test_error_and_age_are_those_of_loops() -> None:
    model, clip = VIT.model(base=True), VIT.clip()
    maps = maps_of(model(clip, output_token_maps=True))
    patches = model.embeddings(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])
    content = (patches - model.embeddings.position_embeddings)[:, :, 1:]
    for stream in range(VIT.batch):
        for time in range(VIT.frames):
            scale = content[stream, time].norm(dim=-1).mean()
            for position in range(patches.shape[2]):
                times = [other for other in range(VIT.frames) if maps.computed[stream, other, position]]
                before = max(other for other in times if other <= time)
                after = min((other for other in times if other >= time), default=before)
                assert maps.age[stream, time, position] in (time - before, abs(after - time))
                left, own, right = (patches[stream, other, position] for other in (before, time, after))
                # Somewhere on the line between both.
                error = float(maps.error[stream, time, position] * scale)
                line = right - left
                alpha = float(((own - left) @ line) / (line @ line).clamp(min=1e-9)) if before != after else 0.0
                nearest = float((own - left - min(max(alpha, 0.0), 1.0) * line).norm())
                assert error >= nearest - 1e-5
                if before == after:
                    assert error == pytest.approx(nearest, abs=1e-5)


@CASES
@torch.no_grad()
def test_still_frames_are_one_group_for_each_position(case: ModelCase) -> None:
    clip = case.clip()[:, :1].expand(-1, case.frames, -1, -1, -1)
    # The same times stand for all positions, so that everything else is held from there.
    model = case.model(base=True, representative="start", max_age=None)
    maps = maps_of(model(clip, output_token_maps=True))
    is_first = 0 if case is not VIDEOMAE else -1
    positions = maps.groups.shape[2]
    expected = torch.arange(positions).expand(case.batch, case.times, -1).clone()
    if is_first == 0:
        # CLS is computed in every frame.
        expected[..., 0] += torch.arange(case.times) * positions
    assert torch.equal(maps.groups, expected[..., None].expand_as(maps.groups))
    reused = ~maps.computed
    times = torch.arange(case.times)[:, None].expand_as(reused)
    assert torch.equal(maps.age[reused], times[reused])
    assert float(maps.error.max()) < 1e-5


@torch.no_grad()
def test_pieces_of_a_stream_give_the_maps_of_one_call() -> None:
    model = CAUSAL.model(base=True)
    whole = maps_of(model(CAUSAL.clip(), output_token_maps=True))
    cache, parts = None, []
    for piece in CAUSAL.pieces(1, 4, 2):
        output = model(piece, past_key_values=cache, output_token_maps=True)
        cache = output.past_key_values
        parts.append(maps_of(output))
    for name in ("computed", "age", "error"):
        torch.testing.assert_close(torch.cat([part[name] for part in parts], dim=1), whole[name])
    # What an earlier call computed is a group of its own, numbered by its first token in this call.
    numbers = parts[-1].groups[..., 0].flatten(1)
    assert (numbers >= 0).all() and (numbers <= torch.arange(numbers.shape[1])).all()


@torch.no_grad()
def test_streams_that_start_anew_have_maps_of_their_own() -> None:
    model = VIT.model(base=True)
    first, second = VIT.pieces(3, 4)
    cache = model(first).past_key_values
    cache.reset([1])
    maps = maps_of(model(second, past_key_values=cache, output_token_maps=True))
    alone = maps_of(model(second[1:], output_token_maps=True))
    for name, tensor in alone.items():
        torch.testing.assert_close(maps[name][1:], tensor)


def test_maps_are_returned_when_asked_for() -> None:
    assert VIT.model()(VIT.clip()).reuse.maps is None
    maps = maps_of(VIDEOMAE.model()(VIDEOMAE.clip(), output_token_maps=True))
    stream = maps.stream(1)
    assert all(torch.equal(stream[name], tensor[1]) for name, tensor in maps.items())
    assert not maps.error.requires_grad


def test_groups_are_numbered_by_their_first_token() -> None:
    groups = torch.tensor([[[-7, -1, 4], [4, -7, -1]], [[9, 9, -1], [3, 9, 3]]])[..., None]
    expected = torch.tensor([[[0, -1, 2], [2, 0, -1]], [[0, 0, -1], [3, 0, 3]]])[..., None]
    assert torch.equal(by_first_token(groups), expected)
