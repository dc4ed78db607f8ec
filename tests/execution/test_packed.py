from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.models.vit.modeling_vit import eager_attention_forward

from hf_ttr.execution.packed import (
    BUCKET,
    TABLE_LIMIT,
    FrameCall,
    FrameGroup,
    PackedLayout,
    TableGroup,
    assemble,
    padded_size,
    pair_links,
)
from hf_ttr.planning.plan import ReusePlan


HEADS, HEAD_DIM = 2, 4


def random_plan(
    batch: int, frames: int, tokens: int, share: float, interpolate: bool = False, past: bool = False
) -> ReusePlan:
    generator = torch.Generator().manual_seed(frames)
    computed = torch.rand(batch, frames, tokens, generator=generator) < share
    computed[:, :, 0] = True
    if not past:
        computed[:, 0] = True
    age = torch.randint(1, 5, (batch, tokens), generator=generator) if past else None
    return ReusePlan.build(computed, age, interpolate=interpolate)


def plan_of_counts(counts: list[int], tokens: int, interpolate: bool = False) -> ReusePlan:
    computed = torch.arange(tokens) < torch.tensor(counts)[None, :, None]
    return ReusePlan.build(computed, torch.ones(1, tokens, dtype=torch.long), interpolate=interpolate)


@pytest.mark.parametrize(
    ("count", "tokens", "size"),
    [
        (0, 50, 0),
        (1, 50, 1),
        (2, 50, BUCKET),
        (BUCKET, 50, BUCKET),
        (BUCKET + 1, 50, 2 * BUCKET),
        (49, 50, 50),
        (3, 9, 9),
    ],
)
def test_padded_size(count: int, tokens: int, size: int) -> None:
    assert padded_size(count, tokens) == size


COUNTS = pytest.mark.parametrize(
    "counts", [[1, 1], [5, 0, 1, 17, 1, 3], [40, 40], [0, 16, 17, 32, 33, 40, 1]], ids=str
)


@COUNTS
@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
def test_a_layout_holds_every_row_once(counts: list[int], interpolate: bool) -> None:
    tokens = 40
    layout = PackedLayout.of(plan_of_counts(counts, tokens, interpolate), counts)
    starts = [sum(counts[:frame]) for frame in range(len(counts))]
    with_rows = [frame for frame, count in enumerate(counts) if count]
    assert sorted(frame for group in layout.groups for frame in group.frames) == with_rows
    padded_rows, pairs, table = [], 0, tokens + sum(counts)
    for group in layout.groups:
        own = [list(range(starts[frame], starts[frame] + counts[frame])) for frame in group.frames]
        if isinstance(group, TableGroup):
            assert interpolate
            assert all(counts[frame] * (table + 3 * tokens) <= TABLE_LIMIT * tokens for frame in group.frames)
            assert group.queries.tolist() == sum(own, [])
            padded_rows += group.queries.tolist()
            pairs += len(group.queries) * table
            continue
        for frame, rows, queries in zip(group.frames, own, group.queries.tolist()):
            assert len(queries) == padded_size(counts[frame], tokens)
            # Padding repeats the first row, whose output is then thrown away.
            assert queries == rows + [rows[0]] * (len(queries) - len(rows))
            padded_rows += queries
            pairs += len(queries) * tokens
    assert [padded_rows[place] for place in layout.restore.tolist()] == list(range(sum(counts)))
    assert layout.pairs == [pairs]


def test_frames_of_few_rows_attend_to_the_table() -> None:
    plan = plan_of_counts([1, 30, 2, 3], tokens=40, interpolate=True)
    table, rest = PackedLayout.of(plan, plan.row_counts).groups[::-1]
    assert isinstance(table, TableGroup) and table.frames == [0, 2, 3]
    assert isinstance(rest, FrameGroup) and rest.frames == [1]


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("first_tokens_only", [False, True], ids=["all-rows", "cls-rows"])
@pytest.mark.parametrize("past", [False, True], ids=["new", "past"])
@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize(
    ("batch", "frames", "tokens", "share"),
    [(1, 4, 37, 0.1), (2, 5, 20, 0.5), (3, 2, 9, 0.0), (2, 3, 18, 0.95), (2, 1, 5, 0.4)],
    ids=str,
)
def test_rows_attend_to_their_own_frame(
    batch: int,
    frames: int,
    tokens: int,
    share: float,
    interpolate: bool,
    past: bool,
    first_tokens_only: bool,
    biased: bool,
) -> None:
    plan = random_plan(batch, frames, tokens, share, interpolate, past)
    if plan.is_dense:
        pytest.skip("whole frames have a test of their own.")
    call = FrameCall.of(plan, outputs=1 if first_tokens_only else None)
    queries = call.select_outputs(torch.randn(1, len(plan.rows), HEADS * HEAD_DIM))
    query = queries.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    table_rows = 1 + int(max(part.max() for part in plan.links[:2]))
    given_keys, given_values = torch.randn(2, 1, HEADS, table_rows, HEAD_DIM)
    bias = torch.randn(1, HEADS, tokens, tokens) if biased else torch.zeros(1, HEADS, tokens, tokens)
    output, weights = call.attend(
        eager_attention_forward,
        nn.Module().eval(),
        query,
        given_keys,
        given_values,
        scaling=0.3,
        bias=bias if biased else None,
        dropout=0.0,
    )
    assert weights is None
    assert output.shape == (1, query.shape[2], HEADS, HEAD_DIM)

    def of_frame(given: torch.Tensor, frame: int) -> torch.Tensor:
        left, right, alpha = (part.flatten(0, 1)[frame] for part in plan.links)
        return torch.lerp(given[0, :, left], given[0, :, right], alpha[:, None])

    counts = [1] * (batch * frames) if first_tokens_only else plan.row_counts
    frame_of_row = torch.arange(batch * frames).repeat_interleave(torch.tensor(counts))
    token_of_row = [0] * len(frame_of_row) if first_tokens_only else (plan.rows % tokens).tolist()
    for row, (frame, token) in enumerate(zip(frame_of_row.tolist(), token_of_row)):
        scores = (of_frame(given_keys, frame) @ query[0, :, row, :, None]).squeeze(-1) * 0.3 + bias[0, :, token]
        expected = (scores.softmax(-1)[:, None] @ of_frame(given_values, frame)).squeeze(1)
        torch.testing.assert_close(output[0, row], expected)


def test_whole_frames_go_straight_to_the_attention_function() -> None:
    plan = ReusePlan.build(torch.ones(2, 3, 7, dtype=torch.bool))
    call = FrameCall.of(plan)
    query, keys, values = torch.randn(3, 6, HEADS, 7, HEAD_DIM)
    arguments = {"scaling": 0.3, "dropout": 0.0}
    output, weights = call.attend(eager_attention_forward, nn.Module(), query, keys, values, **arguments)
    expected, expected_weights = eager_attention_forward(nn.Module(), query, keys, values, None, **arguments)
    assert torch.equal(output, expected)
    assert torch.equal(weights, expected_weights)


class Left:
    """Rows that methods of reduction have left, of those that a call began with."""

    def __init__(self, counts: list[int], left: list[int], seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.tensor([0, *counts]).cumsum(0).tolist()
        # The first row of a frame stays, whatever else does.
        chosen = [
            [start, *sorted((start + 1 + torch.randperm(count - 1, generator=generator)[: rest - 1]).tolist())]
            for start, count, rest in zip(starts, counts, left)
        ]
        self.origin = torch.tensor([row for rows in chosen for row in rows])
        self.sizes = torch.randint(1, 4, (len(self.origin),), generator=generator).float()

    def logit_mask(self, query: torch.Tensor) -> torch.Tensor:
        mask = self.sizes.log().unflatten(0, (len(query), -1))
        return mask[:, None, None].expand(-1, -1, query.shape[2], -1)


@pytest.mark.parametrize("first_tokens_only", [False, True], ids=["all-rows", "cls-rows"])
@pytest.mark.parametrize("left", [None, 5], ids=["all-left", "some-left"])
@pytest.mark.parametrize("attends_to_merged", [False, True], ids=["to-all", "to-merged"])
@pytest.mark.parametrize("pruned", [False, True], ids=["kept", "pruned"])
def test_the_bias_of_whole_frames_is_that_of_the_tokens_that_their_rows_were(
    first_tokens_only: bool, left: int | None, attends_to_merged: bool, pruned: bool
) -> None:
    frames, tokens = 6, 9
    plan = ReusePlan.build(torch.ones(2, 3, tokens, dtype=torch.bool))
    counts = [tokens if left is None else left] * frames
    reduction = None if left is None else Left(plan.row_counts, counts, seed=3)
    call = FrameCall.of(plan, 1 if first_tokens_only else None, counts, reduction, attends_to_merged)
    positions = torch.arange(tokens).expand(frames, -1)
    if reduction is not None:
        positions = (reduction.origin % tokens).view(frames, left)
    seen = positions if attends_to_merged else torch.arange(tokens).expand(frames, -1)
    query = call.select_outputs(torch.randn(frames, HEADS, positions.shape[1], HEAD_DIM))
    keys, values = torch.randn(2, frames, HEADS, seen.shape[1], HEAD_DIM)
    bias = torch.randn(1, HEADS, tokens, tokens)
    kept = torch.rand(frames, 1, tokens, 1) < 0.7 if pruned and not attends_to_merged else None
    if kept is not None:
        kept[:, :, 0] = True
    output, _ = call.attend(
        eager_attention_forward, nn.Module().eval(), query, keys, values, 0.3, kept, bias, dropout=0.0
    )
    for frame in range(frames):
        for row in range(query.shape[2]):
            scores = (keys[frame] @ query[frame, :, row, :, None]).squeeze(-1) * 0.3
            scores = scores + bias[0, :, positions[frame, row]][:, seen[frame]]
            if attends_to_merged and reduction is not None:
                scores = scores + reduction.sizes.view(frames, -1)[frame].log()
            if kept is not None:
                scores = scores.masked_fill(~kept[frame, 0, :, 0], -torch.inf)
            expected = (scores.softmax(-1)[:, None] @ values[frame]).squeeze(1)
            torch.testing.assert_close(output[frame, row], expected)


@pytest.mark.parametrize("first_tokens_only", [False, True], ids=["all-rows", "cls-rows"])
@pytest.mark.parametrize("interpolate", [False, True], ids=["hold", "interpolate"])
@pytest.mark.parametrize("frames", [1, 4], ids=["single-frames", "frames"])
def test_the_bias_of_packed_rows_is_that_of_the_tokens_that_they_were(
    frames: int, interpolate: bool, first_tokens_only: bool
) -> None:
    batch, tokens = 2, 40
    plan = random_plan(batch, frames, tokens, 0.6, interpolate, past=True)
    # Frames of few rows are left, which may attend to the table, and of many.
    counts = [max(1, count // (1 + 20 * (frame % 2))) for frame, count in enumerate(plan.row_counts)]
    reduction = Left(plan.row_counts, counts, seed=5)
    call = FrameCall.of(plan, 1 if first_tokens_only else None, counts, reduction)
    tables = [group for group in call.layout.groups if isinstance(group, TableGroup)]
    assert bool(tables) == (interpolate and frames > 1)
    queries = call.select_outputs(torch.randn(1, len(reduction.origin), HEADS * HEAD_DIM))
    query = queries.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    table_rows = 1 + int(max(part.max() for part in plan.links[:2]))
    keys, values = torch.randn(2, 1, HEADS, table_rows, HEAD_DIM)
    kept = torch.rand(1, 1, table_rows, 1) < 0.6
    bias = torch.randn(1, HEADS, tokens, tokens)
    output, _ = call.attend(
        eager_attention_forward, nn.Module().eval(), query, keys, values, 0.3, kept, bias, dropout=0.0
    )
    rows = torch.arange(batch * frames).repeat_interleave(torch.tensor(counts))
    positions = (plan.rows % tokens)[reduction.origin]
    if first_tokens_only:
        rows, positions = torch.arange(batch * frames), positions.new_zeros(batch * frames)
    for row, (frame, position) in enumerate(zip(rows.tolist(), positions.tolist())):
        left, right, alpha = (part.flatten(0, 1)[frame] for part in plan.links)
        of_left, of_right = (1 - alpha) * kept[0, 0, left, 0], alpha * kept[0, 0, right, 0]
        is_kept = of_left + of_right > 0
        share = torch.where(is_kept, of_right / (of_left + of_right), alpha)[:, None]
        own_keys, own_values = (torch.lerp(part[0, :, left], part[0, :, right], share) for part in (keys, values))
        scores = (own_keys @ query[0, :, row, :, None]).squeeze(-1) * 0.3 + bias[0, :, position]
        scores = scores.masked_fill(~is_kept, -torch.inf)
        expected = (scores.softmax(-1)[:, None] @ own_values).squeeze(1)
        torch.testing.assert_close(output[0, row], expected)


@pytest.mark.parametrize("share", [0.3, 1.0], ids=["packed", "whole-frames"])
def test_outputs_of_the_cls_rows(share: float) -> None:
    plan = random_plan(2, 3, 5, share)
    call = FrameCall.of(plan, outputs=1)
    numbers = torch.arange(30)[plan.rows] if share < 1 else torch.arange(30).view(6, 5)
    states = numbers[None, :, None] if share < 1 else numbers[..., None]
    assert call.select_outputs(states).flatten().tolist() == [0, 5, 10, 15, 20, 25]
    assert FrameCall.of(plan).select_outputs(states) is states


@pytest.mark.parametrize("first_tokens_only", [False, True], ids=["all-rows", "cls-rows"])
@pytest.mark.parametrize("whole_frames", [[(0, 0), (1, 2)], [(0, 1), (0, 2)], [(1, 0)], "all"], ids=str)
def test_cls_attention_is_observed_in_the_last_whole_frame_of_each_stream(
    whole_frames: list[tuple[int, int]] | str, first_tokens_only: bool
) -> None:
    batch, frames, tokens = 2, 3, 6
    computed = torch.zeros(batch, frames, tokens, dtype=torch.bool)
    computed[:, :, 0] = True
    computed[0, 1, 3] = computed[1, 0, 2] = True
    for frame in whole_frames if whole_frames != "all" else ():
        computed[frame] = True
    if whole_frames == "all":
        computed[:] = True
    plan = ReusePlan.build(computed, torch.ones(batch, tokens, dtype=torch.long), record_saliency=True)
    call = FrameCall.of(plan, outputs=1 if first_tokens_only else None)
    last_whole = {stream: time for stream in range(batch) for time in range(frames) if computed[stream, time].all()}
    assert call.observed.streams.tolist() == list(last_whole)

    states = torch.randn(batch * frames, tokens, HEADS * HEAD_DIM)
    rows = states if plan.is_dense else states.flatten(0, 1)[plan.rows][None]
    query = call.select_outputs(rows).unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    past = torch.randn(HEADS, batch * tokens, HEAD_DIM)
    new = rows.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    given_keys = new if plan.is_dense else torch.cat([past, new[0]], dim=1)[None]
    bias = torch.randn(1, HEADS, tokens, tokens)
    observed, biased = (call.observed_attention(query, given_keys, 0.3, bias=part) for part in (None, bias))
    keys = states.unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    assert observed.shape == (len(last_whole), tokens)
    for attention, attention_with_bias, (stream, time) in zip(observed, biased, last_whole.items()):
        frame = stream * frames + time
        first = states[frame, 0].view(HEADS, 1, HEAD_DIM)
        scores = first @ keys[frame].transpose(1, 2) * 0.3
        torch.testing.assert_close(attention, scores.softmax(-1).mean((0, 1)))
        torch.testing.assert_close(attention_with_bias, (scores + bias[0, :, :1]).softmax(-1).mean((0, 1)))


def test_nothing_is_observed_unasked_or_where_no_frame_is_whole() -> None:
    plan = ReusePlan.build(torch.ones(1, 2, 3, dtype=torch.bool))
    assert FrameCall.of(plan).observed is None
    computed = torch.tensor([[[True, False, True]]])
    partial = ReusePlan.build(computed, torch.ones(1, 3, dtype=torch.long), record_saliency=True)
    assert FrameCall.of(partial).observed is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_assembling_interpolates_rows(dtype: torch.dtype) -> None:
    table = torch.arange(24).view(6, 4).to(dtype)
    left, right = torch.tensor([0, 5, 1, 2]), torch.tensor([5, 5, 3, 0])
    alpha = torch.tensor([0.0, 0.0, 0.5, 0.25])
    expected = (1 - alpha)[:, None] * table[left].float() + alpha[:, None] * table[right].float()
    assembled = assemble(table, *pair_links(left, right, alpha))
    assert assembled.dtype == dtype
    torch.testing.assert_close(assembled.float(), expected, rtol=2e-2 if dtype == torch.bfloat16 else 1e-6, atol=0)


def test_assembling_has_a_gradient() -> None:
    table = torch.randn(3, 2, requires_grad=True)
    assemble(
        table, *pair_links(torch.tensor([0, 1]), torch.tensor([2, 1]), torch.tensor([0.25, 0.0]))
    ).sum().backward()
    assert table.grad[:, 0].tolist() == [0.75, 1.0, 0.25]
