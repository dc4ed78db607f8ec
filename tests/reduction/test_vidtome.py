from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
import torch

from hf_ttr import TemporalReuseVideoMAEConfig, TemporalReuseViTConfig
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.planning.planner import Planner
from hf_ttr.reduction import VidToMe
from hf_ttr.reduction.rows import RowSets

from ..models.cases import assert_near
from ..models.test_modeling_temporal_reuse_vit import random_masks, vit_case
from ..models.vit_reference import run_reference
from ..tiny import TINY_VIDEOMAE, TINY_VIT


VIT = vit_case("vidtome", "bidirectional", {})
EVERYTHING = {"method": "vidtome", "chunk": 3, "local_ratio": 1.0, "global_ratio": 1.0}


def merge_by_loops(rows: torch.Tensor, frames: list[int], streams: int, method: VidToMe, protected: int) -> list[int]:
    """The row that each one is merged into, or itself: what `VidToMe` says in words."""
    starts = [0, *accumulate(frames)]
    free = [list(range(min(start + protected, end), end)) for start, end in zip(starts, starts[1:])]
    becomes = list(range(len(rows)))

    def into_one(parts: list[list[int]], ratio: float) -> None:
        sizes = [len(part) for part in parts]
        largest = [number for number, size in enumerate(sizes) if size == max(sizes)]
        chosen = largest[len(largest) // 2]
        pairs = []
        for number, part in enumerate(parts):
            for row in part if number != chosen else []:
                similar = [float(torch.cosine_similarity(rows[row], rows[other], dim=0)) for other in parts[chosen]]
                if similar:
                    pairs.append((max(similar), row, parts[chosen][similar.index(max(similar))]))
        pairs.sort(key=lambda pair: (-pair[0], pair[1]))
        for _, row, other in pairs[: int(ratio * len(pairs))]:
            becomes[row] = other

    per_stream = len(frames) // streams
    for stream in range(streams):
        own = free[stream * per_stream : (stream + 1) * per_stream]
        chunks = [own[first : first + method.chunk] for first in range(0, per_stream, method.chunk)]
        for chunk in chunks:
            into_one(chunk, method.local_ratio)
        left = [[row for part in chunk for row in part if becomes[row] == row] for chunk in chunks]
        into_one(left, method.global_ratio)
    return [becomes[other] for other in becomes]


def random_rows(count: int, dim: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("protected", [0, 1])
@pytest.mark.parametrize(
    ("frames", "streams"),
    [
        ([9] * 8, 2),
        ([20, 3, 1, 17, 0, 20, 8], 1),
        ([1, 30, 5, 5, 30, 30, 2, 40, 1, 1, 1, 1], 2),
        ([1, 1, 1], 1),
        ([7], 1),
    ],
    ids=["equal", "ragged", "streams", "hardly-any", "one-frame"],
)
@pytest.mark.parametrize("method", [VidToMe(3, 0.7, 0.4), VidToMe(2, 1.0, 1.0), VidToMe(4, 0.5, 0)], ids=str)
def test_merging_is_that_of_loops(method: VidToMe, frames: list[int], streams: int, protected: int) -> None:
    rows = random_rows(sum(frames))
    merge = method.merge(rows, RowSets(frames, rows.device), streams, protected)
    assert merge.targets.tolist() == merge_by_loops(rows, frames, streams, method, protected)
    assert torch.equal(merge.targets[merge.targets], merge.targets)
    assert len(merge.multiply_adds) == streams


@pytest.mark.parametrize("mode", ["off", "causal", "bidirectional"])
@pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
@torch.no_grad()
def test_frames_that_are_the_same_are_merged_at_no_loss(base: bool, mode: str) -> None:
    clip = VIT.clip()[:, [0, 0, 0, 1, 1, 1, 1]]
    settings: dict[str, Any] = {"mode": mode, "threshold": None if mode == "off" else 0}
    output = VIT.model(base, **settings, reduction={**EVERYTHING, "global_ratio": 0})(clip)
    assert_near(VIT.states(output), VIT.states(VIT.model(base, mode="off")(clip)), 1e-5)
    # CLS of each frame, and the patches of three chunks.
    assert output.reuse.computed_by_layer.tolist() == [[7 + 3 * 36] * 3] * 2
    assert output.reuse.merged_by_layer.tolist() == [[4 * 36] * 3] * 2
    still = clip[:, :1].expand(-1, 7, -1, -1, -1)
    output = VIT.model(base, **settings, reduction=EVERYTHING)(still)
    assert_near(VIT.states(output), VIT.states(VIT.model(base, mode="off")(still)), 1e-5)
    assert output.reuse.computed_by_layer.tolist() == [[7 + 36] * 3] * 2


@pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
@torch.no_grad()
def test_threshold_0_is_merging_alone(base: bool) -> None:
    alone = VIT.model(base, mode="off", reduction={"method": "vidtome"})(VIT.clip())
    assert alone.past_key_values is None
    assert not torch.allclose(VIT.states(alone), VIT.states(VIT.model(base, mode="off")(VIT.clip())), atol=1e-3)
    for mode in ("causal", "bidirectional"):
        output = VIT.model(base, mode=mode, threshold=0, reduction={"method": "vidtome"})(VIT.clip())
        assert_near(VIT.states(output), VIT.states(alone), 1e-5)


@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])
@torch.no_grad()
def test_a_merged_plan_is_carried_out_as_defined(
    monkeypatch: pytest.MonkeyPatch, base: bool, interpolate: bool
) -> None:
    method = VidToMe(2, 0.8, 0.5)
    model = VIT.model(base, reduction=method)
    # No two patches are the same: which is merged does not hang on rounding.
    clip = VIT.clip() + random_rows(VIT.clip().numel(), 1).view_as(VIT.clip())
    plans = [ReusePlan.build(random_masks([1, 0.4, 0.5, 0]), None, interpolate)]
    for shares in ([0], [0.7, 0, 1, 0.05], [0.02]):
        plans.append(ReusePlan.build(random_masks(shares), plans[-1].age, interpolate))
    pieces = [clip[:, :4], clip[:, 4:5], clip[:, [5, 6, 2, 0]], clip[:, 1:2]]
    cache = past = None
    for plan, piece in zip(plans, pieces):
        monkeypatch.setattr(Planner, "plan", lambda *_, plan=plan: plan)
        output = model(piece, past_key_values=cache)
        cache = output.past_key_values
        rows = model.base_model.embeddings(piece.flatten(0, 1)).unflatten(0, piece.shape[:2])[plan.computed]
        becomes = merge_by_loops(rows, plan.row_counts, 2, method, 1)
        kept = [row for row, other in enumerate(becomes) if row == other]
        means = [rows[[row for row, other in enumerate(becomes) if other == own]].mean(0) for own in kept]
        before = plan.shape[0] * plan.shape[2] if plan.has_past else 0
        place = [*range(before), *(before + kept.index(other) for other in becomes)]
        # The rows that stay, at their own places, and links to what the others became.
        flat = plan.computed.flatten().clone()
        flat[plan.rows[[row for row, other in enumerate(becomes) if row != other]]] = False
        left, right = (torch.tensor(place)[links] for links in (plan.left, plan.right))
        merged = ReusePlan(flat.view_as(plan.computed), left, right, plan.alpha, plan.age, plan.has_past)
        expected, past = run_reference(model.base_model, piece, merged, past, torch.stack(means))
        if not base:
            expected = model.classifier(expected[:, :, 0])
        assert_near(VIT.states(output), expected, 1e-5)
        assert output.reuse.computed_tokens.sum() == len(kept)


@torch.no_grad()
def test_it_works_with_methods_of_layers() -> None:
    reduction = [{"method": "vidtome"}, {"method": "tome", "r": 4}, {"method": "pruning", "keep": 0.6}]
    for mode in ("off", "bidirectional"):
        model = VIT.model(base=True, mode=mode, reduction=reduction)
        together = model(VIT.clip(), output_token_maps=True)
        report = together.reuse
        parts = [report[f"{name}_by_layer"] for name in ("computed", "reused", "merged", "pruned")]
        assert torch.equal(sum(parts), report.total_tokens[:, None].expand(-1, 3))
        for stream in range(VIT.batch):
            alone = model(VIT.clip()[stream : stream + 1])
            assert_near(together.last_hidden_state[stream], alone.last_hidden_state[0], 1e-5)
            assert report.multiply_adds[stream] == alone.reuse.multiply_adds
        groups = report.maps.groups[..., 0].flatten(1)
        assert [len(own.unique()) for own in groups] == report.computed_by_layer[:, 0].tolist()


@torch.no_grad()
def test_outputs_of_every_layer_are_of_whole_frames() -> None:
    output = VIT.model(base=True, reduction=EVERYTHING)(VIT.clip(), output_hidden_states=True)
    expected = VIT.model(base=True, mode="off")(VIT.clip(), output_hidden_states=True)
    for states, others in zip(output.hidden_states, expected.hidden_states, strict=True):
        assert_near(states, others, 1e-5)


@pytest.mark.parametrize(
    ("settings", "idle"),
    [({}, False), ({"local_ratio": 0}, False), ({"local_ratio": 0, "global_ratio": 0}, True)],
    ids=str,
)
def test_nothing_to_merge_is_known(settings: dict[str, Any], idle: bool) -> None:
    assert VidToMe(**settings).is_idle == idle
    assert VidToMe(chunk=1, global_ratio=0).is_idle


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"chunk": 0}, "chunk is 0, but must be a whole number of frames of at least 1"),
        ({"chunk": 1.5}, "chunk is 1.5"),
        ({"local_ratio": 1.1}, "local_ratio is 1.1, but must be a share of the rows from 0 to 1"),
        ({"global_ratio": -0.1}, "global_ratio is -0.1"),
        ({"global_ratio": True}, "global_ratio is True"),
    ],
    ids=str,
)
def test_bad_settings_are_refused_when_the_config_is_made(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as raised:
        TemporalReuseViTConfig(**TINY_VIT, temporal_reuse={"reduction": {"method": "vidtome", **settings}})
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_model_of_windows_is_no_place_for_it() -> None:
    with pytest.raises(ValueError, match="'tome' merges in all of it"):
        TemporalReuseVideoMAEConfig(**TINY_VIDEOMAE, temporal_reuse={"reduction": VidToMe()})
