from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import SiglipVisionConfig, VideoMAEConfig, VideoMAEModel, ViTConfig, ViTModel
from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

from hf_ttr.execution.flops import CostCounter, ReuseReport, TransformerCost, multiply_adds_of_pooling, window_report
from hf_ttr.execution.packed import BUCKET, FrameCall
from hf_ttr.models.videomae.modeling_temporal_reuse_videomae import VideoMAEParts
from hf_ttr.models.vit.modeling_temporal_reuse_vit import ViTParts
from hf_ttr.planning.plan import ReusePlan
from hf_ttr.planning.window_plan import PastSlots, WindowPlan

from ..tiny import TINY_VIDEOMAE, TINY_VIT


COST = TransformerCost(patch=7, key_value=11, query_output=9, mlp=4, pair=17, layers=3)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_hidden_layers": 1, "num_attention_heads": 1},
        {"image_size": (16, 28), "num_channels": 1},
        {"image_size": (16, 24), "patch_size": (4, 8)},
        {"hidden_size": 48, "intermediate_size": 20, "qkv_bias": False},
    ],
    ids=str,
)
@torch.no_grad()
def test_a_dense_vit_costs_what_a_profiler_counts(changes: dict[str, Any]) -> None:
    config = ViTConfig(**{**TINY_VIT, **changes}, attn_implementation="eager")
    model = ViTModel(config, add_pooling_layer=False).eval()
    height, width = config.image_size if isinstance(config.image_size, tuple) else (config.image_size,) * 2
    frames = torch.randn(3, config.num_channels, height, width)
    with FlopCounterMode(display=False) as counted:
        states = model(frames).last_hidden_state
    tokens = states.shape[1]
    assert ViTParts().cost(model, tokens - 1).dense(3, tokens) * 2 == counted.get_total_flops()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_hidden_layers": 1, "num_attention_heads": 1},
        {"image_size": (16, 28), "num_channels": 1, "tubelet_size": 4},
        {"image_size": (16, 24), "patch_size": (4, 8), "tubelet_size": 1},
        {"hidden_size": 48, "intermediate_size": 20, "qv_bias": False, "num_frames": 2},
    ],
    ids=str,
)
@torch.no_grad()
def test_a_dense_videomae_costs_what_a_profiler_counts(changes: dict[str, Any]) -> None:
    config = VideoMAEConfig(**{**TINY_VIDEOMAE, **changes}, attn_implementation="eager")
    model = VideoMAEModel(config).eval()
    height, width = config.image_size if isinstance(config.image_size, tuple) else (config.image_size,) * 2
    times = config.num_frames // config.tubelet_size
    with FlopCounterMode(display=False) as counted:
        states = model(torch.randn(3, config.num_frames, config.num_channels, height, width)).last_hidden_state
    every = torch.arange(times)[:, None].expand(3, times, states.shape[1] // times)
    report = window_report(VideoMAEParts().cost(model, states.shape[1] // times), WindowPlan.build(every), [times] * 3)
    assert int(report.dense_multiply_adds.sum()) * 2 == counted.get_total_flops()
    assert torch.equal(report.multiply_adds, report.dense_multiply_adds)


def test_a_window_costs_its_rows_and_the_rows_that_they_attend_to() -> None:
    # Two times of three positions; the first stream is new, the second has a past of four rows.
    sources = torch.tensor([[[0, 0, 1], [0, 1, 1]], [[-1, -1, -1], [-1, 1, -1]]])
    past = torch.tensor([[[-1, -1, -1], [-1, -1, -1]], [[0, 1, 2], [0, 1, 3]]])
    plan = WindowPlan.build(sources, PastSlots(past, past, torch.zeros(past.shape), [0, 4]))
    plan.planning_multiply_adds = 1000
    report = window_report(COST, plan, embedded=[2, 1])
    assert report.computed_tokens.tolist() == [4, 1]
    assert report.total_tokens.tolist() == [6, 6]
    assert report.computed_share.tolist() == pytest.approx([4 / 6, 1 / 6])
    assert report.multiply_adds.tolist() == [
        2 * 7 + 1000 + 3 * (4 * (11 + 13) + 4 * 4 * 17),
        1 * 7 + 1000 + 3 * (1 * (11 + 13) + 1 * 5 * 17),
    ]
    assert report.dense_multiply_adds.tolist() == [2 * 7 + 3 * (6 * (11 + 13) + 6 * 6 * 17)] * 2
    assert torch.equal(report.plan, plan.computed)


def test_a_reuse_pass_costs_its_rows() -> None:
    assert COST.layer(rows=40, pairs=500) == 40 * (11 + 13) + 500 * 17
    # Where some rows are merged between attention and MLP.
    assert COST.layer(rows=40, pairs=500, mlp_rows=30) == 40 * (11 + 9) + 30 * 4 + 500 * 17
    # The last layer computes keys and values of all rows, and the rest of the CLS rows alone.
    assert COST.layer_of_few(rows=40, pairs=45, outputs=5) == 40 * 11 + 5 * 13 + 45 * 17


def test_a_counter_adds_up_plans_stream_by_stream() -> None:
    tokens = 2 * BUCKET + 5
    first = ReusePlan.build(torch.ones(2, 1, tokens, dtype=torch.bool), record_saliency=True)
    computed = torch.zeros(2, 2, tokens, dtype=torch.bool)
    computed[:, :, 0] = True
    computed[0, 1, :3] = computed[1, 0, : BUCKET + 1] = True
    second = ReusePlan.build(computed, first.age, record_saliency=True)
    second.planning_multiply_adds = 1000
    counter = CostCounter(COST, batch=2, frames=3, tokens=tokens)
    for plan in (first, second):
        counter.add(plan, [FrameCall.of(plan)] * COST.layers)
    report = counter.report()

    rows = [[tokens, 1, 3], [tokens, BUCKET + 1, 1]]
    queries = [tokens + 1 + BUCKET, tokens + 2 * BUCKET + 1]
    observed = 3 * tokens * 17 // 2
    expected = [
        3 * 7 + 3 * (sum(own) * (11 + 13) + attended * tokens * 17) + 1000 + observed
        for own, attended in zip(rows, queries)
    ]
    assert report.computed_tokens.tolist() == [sum(own) for own in rows]
    assert report.total_tokens.tolist() == [3 * tokens] * 2
    assert report.computed_share.tolist() == pytest.approx([sum(own) / (3 * tokens) for own in rows])
    assert report.multiply_adds.tolist() == expected
    assert report.dense_multiply_adds.tolist() == [3 * (7 + 3 * (tokens * 24 + tokens**2 * 17))] * 2
    assert torch.equal(report.plan, torch.cat([first.computed, second.computed], dim=1))


def test_a_pooling_head_costs_what_a_profiler_counts() -> None:
    config = SiglipVisionConfig(hidden_size=12, num_attention_heads=3, intermediate_size=20)
    head = SiglipMultiheadAttentionPoolingHead(config).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        head(torch.randn(2, 7, 12))
    assert 2 * 2 * multiply_adds_of_pooling(head, 7) == counted.get_total_flops()


def test_what_only_the_parent_computes_is_on_its_side_alone() -> None:
    report = ReuseReport(multiply_adds=torch.tensor([5]), dense_multiply_adds=torch.tensor([7]))
    report.add_head(100, 130)
    assert (int(report.multiply_adds), int(report.dense_multiply_adds)) == (105, 137)


def test_a_head_costs_the_same_with_reuse() -> None:
    report = ReuseReport(multiply_adds=torch.tensor([5, 6]), dense_multiply_adds=torch.tensor([50, 60]))
    report.add_head(100)
    assert report.multiply_adds.tolist() == [105, 106]
    assert report.dense_multiply_adds.tolist() == [150, 160]
    empty = ReuseReport()
    empty.add_head(100)
    assert empty.multiply_adds is None
