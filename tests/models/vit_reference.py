"""Temporal token reuse as its definition says it: slow, token by token, without packing, and without the package."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import ViTModel

from hf_ttr.planning.plan import ReusePlan


@dataclass
class Past:
    """What each position of each stream was last computed to be: lists in the order of streams and positions."""

    keys: list[list[torch.Tensor]] = field(default_factory=list)
    values: list[list[torch.Tensor]] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)


@torch.no_grad()
def run_reference(
    model: ViTModel,
    clip: torch.Tensor,
    plan: ReusePlan,
    past: Past | None,
    rows: torch.Tensor | None = None,
) -> tuple[torch.Tensor, Past]:
    """
    Last hidden states of every token of a clip, and the past of the next call.

    Args:
        model: a ViT, with or without reuse: only its parts are used.
        clip: `(batch, frames, channels, height, width)`.
        plan: which tokens to compute, and of which rows of the table the others are made.
        past: what the previous call returned, where the plan has a past.
        rows: embeddings of the computed tokens, `(rows, hidden_size)`, where they are not those of the clip.
    """
    batch, frames, _ = plan.shape
    if rows is None:
        rows = model.embeddings(clip.flatten(0, 1)).unflatten(0, (batch, frames))[plan.computed]
    # Computed tokens, in the order of the table.
    hidden = {tuple(key): row for key, row in zip(plan.computed.nonzero().tolist(), rows, strict=True)}
    following = Past()

    for index, layer in enumerate(model.layers):
        attention = layer.attention
        normed = {key: layer.layernorm_before(row) for key, row in hidden.items()}
        key_table = list(past.keys[index]) if plan.has_past else []
        value_table = list(past.values[index]) if plan.has_past else []
        key_table += [attention.k_proj(row) for row in normed.values()]
        value_table += [attention.v_proj(row) for row in normed.values()]
        following.keys.append([key_table[row] for row in plan.last_rows.tolist()])
        following.values.append([value_table[row] for row in plan.last_rows.tolist()])
        for stream in range(batch):
            for time in range(frames):
                keys = assemble_frame(key_table, plan, stream, time)
                values = assemble_frame(value_table, plan, stream, time)
                for key in [key for key in hidden if key[:2] == (stream, time)]:
                    attended = attend(attention.q_proj(normed[key]), keys, values, attention.num_attention_heads)
                    row = hidden[key] + attention.o_proj(attended)
                    hidden[key] = row + layer.mlp(layer.layernorm_after(row))

    table = list(past.outputs) if plan.has_past else []
    table += [model.layernorm(row) for row in hidden.values()]
    following.outputs = [table[row] for row in plan.last_rows.tolist()]
    outputs = [[assemble_frame(table, plan, stream, time) for time in range(frames)] for stream in range(batch)]
    return torch.stack([torch.stack(stream) for stream in outputs]), following


def assemble_frame(table: list[torch.Tensor], plan: ReusePlan, stream: int, time: int) -> torch.Tensor:
    """The state of every token of a frame, `(tokens, dim)`."""
    states = []
    for position in range(plan.shape[2]):
        left, right, alpha = (part[stream, time, position].item() for part in (plan.left, plan.right, plan.alpha))
        states.append((1 - alpha) * table[left] + alpha * table[right])
    return torch.stack(states)


def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of one row, `(dim,)`, to those of its frame."""
    parts = []
    for own_query, own_keys, own_values in zip(query.chunk(heads), keys.chunk(heads, -1), values.chunk(heads, -1)):
        weights = (own_keys @ own_query / len(own_query) ** 0.5).softmax(0)
        parts.append(weights @ own_values)
    return torch.cat(parts)
