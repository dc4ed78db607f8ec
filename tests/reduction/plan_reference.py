"""Reuse with merging and pruning as their definitions say it: slow, row by row, without packing."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import torch
from transformers import ViTModel

from hf_ttr.planning.plan import ReusePlan

from .loops import merge_by_loops


Token = tuple[int, int, int]
State = torch.Tensor | None
"""A key, value or hidden state; `None` where the row was left out."""


@dataclass
class ReducedPast:
    """What each position of each stream was last computed to be, by layer; `None` where it was left out by then."""

    keys: list[list[State]] = field(default_factory=list)
    values: list[list[State]] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)


@dataclass
class Row:
    """A row and the tokens that it stands for."""

    tokens: list[Token]
    state: torch.Tensor


@torch.no_grad()
def run_reduced(
    model: ViTModel,
    clip: torch.Tensor,
    plan: ReusePlan,
    past: ReducedPast | None,
    r: int = 0,
    keep: float = 1.0,
    pruning_layers: tuple[int, ...] = (),
    reducing_layers: int = 3,
) -> tuple[torch.Tensor, ReducedPast]:
    """
    Last hidden states of every token of a clip, and the past of the next call.

    Args:
        model: a ViT: only its parts are used.
        clip, plan, past: as in `tests.models.vit_reference.run_reference`.
        r: rows that a layer merges away in a whole frame.
        keep, pruning_layers: share of the rows that these layers keep, after merging.
        reducing_layers: how many layers do either.
    """
    batch, frames, tokens = plan.shape
    embeddings = model.embeddings(clip.flatten(0, 1)).unflatten(0, (batch, frames))
    order: list[Token] = [tuple(key) for key in plan.computed.nonzero().tolist()]  # type: ignore[misc]
    rows = {
        (stream, time): [Row([key], embeddings[key]) for key in order if key[:2] == (stream, time)]
        for stream in range(batch)
        for time in range(frames)
    }
    initial = {frame: len(own) for frame, own in rows.items()}
    final: dict[Token, torch.Tensor] = {}
    following = ReducedPast()

    for index, layer in enumerate(model.layers):
        attention = layer.attention
        tables: list[list[State]] = []
        states: dict[str, dict[tuple[int, int], torch.Tensor]] = {}
        for name in ("k_proj", "v_proj", "q_proj"):
            projection = getattr(attention, name)
            states[name] = {
                frame: torch.stack([projection(layer.layernorm_before(row.state)) for row in own])
                for frame, own in rows.items()
            }
        for name, held in (("k_proj", "keys"), ("v_proj", "values")):
            of_token = {
                token: state
                for frame, own in rows.items()
                for row, state in zip(own, states[name][frame])
                for token in row.tokens
            }
            table: list[State] = list(getattr(past, held)[index]) if past is not None else []
            tables.append(table + [of_token.get(key) for key in order])
            getattr(following, held).append([tables[-1][row] for row in plan.last_rows.tolist()])
        for frame, own in rows.items():
            keys, values = (torch.stack(assembled(table, plan, *frame)) for table in tables)
            heads = attention.num_attention_heads
            queries = states["q_proj"][frame].unflatten(-1, (heads, -1)).transpose(0, 1)
            keys, values = (part.unflatten(-1, (heads, -1)).transpose(0, 1) for part in (keys, values))
            weights = (queries @ keys.transpose(1, 2) * attention.scaling).softmax(-1)
            outputs = attention.o_proj((weights @ values).transpose(0, 1).flatten(1))
            for row, output in zip(own, outputs):
                row.state = row.state + output
            own_keys = states["k_proj"][frame].unflatten(-1, (heads, -1)).transpose(0, 1)
            if index < reducing_layers:
                first = queries[:, :1] @ own_keys.transpose(1, 2) * attention.scaling
                sizes = torch.tensor([len(row.tokens) for row in own], dtype=torch.float32)
                importance = (first[:, 0] + sizes.log()).softmax(-1).mean(0)
                own, kept_importance = merged(own, own_keys.mean(0), importance, r * initial[frame] // tokens)
                if index in pruning_layers:
                    own, left_out = pruned(own, kept_importance, keep)
                    final.update({token: row.state for row in left_out for token in row.tokens})
            rows[frame] = own
            for row in own:
                row.state = row.state + layer.mlp(layer.layernorm_after(row.state))

    final.update({token: row.state for own in rows.values() for row in own for token in row.tokens})
    outputs_table = list(past.outputs) if past is not None else []
    outputs_table += [model.layernorm(final[key]) for key in order]
    following.outputs = [outputs_table[row] for row in plan.last_rows.tolist()]
    result = [[torch.stack(assembled(outputs_table, plan, s, t)) for t in range(frames)] for s in range(batch)]
    return torch.stack([torch.stack(stream) for stream in result]), following


def assembled(table: Any, plan: ReusePlan, stream: int, time: int) -> list[torch.Tensor]:
    """States of the tokens of a frame, without those of which nothing is left."""
    states = []
    for position in range(plan.shape[2]):
        left, right, alpha = (part[stream, time, position].item() for part in (plan.left, plan.right, plan.alpha))
        parts = [(1 - alpha, table[left]), (alpha, table[right])]
        parts = [(share, state) for share, state in parts if state is not None and share > 0]
        if parts:
            states.append(sum(share * state for share, state in parts) / sum(share for share, _ in parts))
    return states


def merged(
    own: list[Row], keys: torch.Tensor, importance: torch.Tensor, wanted: int
) -> tuple[list[Row], torch.Tensor]:
    """The rows after merging, and the importance of those that are left."""
    merges = min(wanted, (len(own) - 1) // 2)
    if merges <= 0:
        return own, importance
    sizes = torch.tensor([len(row.tokens) for row in own], dtype=torch.float32)
    states, _, place = merge_by_loops(torch.stack([row.state for row in own]), sizes, keys, merges, 1)
    result = [Row([], state) for state in states]
    kept: dict[int, int] = {}
    for old, new in enumerate(place):
        result[new].tokens += own[old].tokens
        # The row that others came to is the one at an odd place, or the only one.
        if new not in kept or old % 2:
            kept[new] = old
    return result, importance[[kept[new] for new in range(len(result))]]


def pruned(own: list[Row], importance: torch.Tensor, keep: float) -> tuple[list[Row], list[Row]]:
    """The rows that are left, and the others."""
    free = len(own) - 1
    order = [row + 1 for row in importance[1:].argsort(descending=True).tolist()]
    chosen = {0, *order[: ceil(keep * free)]}
    return [row for n, row in enumerate(own) if n in chosen], [row for n, row in enumerate(own) if n not in chosen]
