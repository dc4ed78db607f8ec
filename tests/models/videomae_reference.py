"""Reuse in a window as its definition says it: slow, row by row, without counted keys, and without the package."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import VideoMAEModel

from hf_ttr.planning.window_plan import WindowPlan


@dataclass
class Past:
    """The rows that stand for at least one slot, stream by stream; the stream that each belongs to."""

    keys: list[list[torch.Tensor]] = field(default_factory=list)
    values: list[list[torch.Tensor]] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)
    streams: list[int] = field(default_factory=list)


@torch.no_grad()
def run_reference(
    model: VideoMAEModel, window: torch.Tensor, plan: WindowPlan, past: Past | None
) -> tuple[torch.Tensor, Past]:
    """
    Last hidden states of every slot of a window, before the final norm, and the past of the next call.

    Args:
        model: a VideoMAE, with or without reuse: only its parts are used.
        window: `(batch, frames, channels, height, width)`.
        plan: which slots to compute, and of which rows of the table the others are made.
        past: what the previous call returned.
    """
    past = past or Past()
    batch, times, positions = plan.shape
    embeddings = model.embeddings(window, None).unflatten(1, (times, positions))
    hidden = {tuple(key): embeddings[tuple(key)] for key in plan.computed.nonzero().tolist()}
    streams = past.streams + [key[0] for key in hidden]
    links = [
        [
            (int(left), int(right), float(alpha))
            for left, right, alpha in zip(*(part[stream].flatten() for part in (plan.left, plan.right, plan.alpha)))
        ]
        for stream in range(batch)
    ]
    used = [{row for left, right, alpha in own for row in ((left, right) if alpha else (left,))} for own in links]
    live = [row for own in used for row in sorted(own)]
    assert all(streams[row] == stream for stream, own in enumerate(used) for row in own)
    following = Past(streams=[streams[row] for row in live])

    for index, layer in enumerate(model.encoder.layer):
        attention = layer.attention.attention
        normed = {key: layer.layernorm_before(row) for key, row in hidden.items()}
        key_table = list(past.keys[index]) if past.keys else []
        value_table = list(past.values[index]) if past.values else []
        key_table += [attention.key(row) for row in normed.values()]
        value_table += [attention.value(row) for row in normed.values()]
        following.keys.append([key_table[row] for row in live])
        following.values.append([value_table[row] for row in live])
        parts = [shares_of_rows(own) for own in links]
        for key in hidden:
            rows, shares = parts[key[0]]
            keys, values = (torch.stack([table[row] for row in rows]) for table in (key_table, value_table))
            attended = attend(attention.query(normed[key]), keys, values, shares, attention.num_attention_heads)
            row = hidden[key] + layer.attention.output.dense(attended)
            hidden[key] = row + layer.output.dense(layer.intermediate(layer.layernorm_after(row)))

    table = past.outputs + list(hidden.values())
    following.outputs = [table[row] for row in live]
    outputs = [
        torch.stack([(1 - alpha) * table[left] + alpha * table[right] for left, right, alpha in own]) for own in links
    ]
    return torch.stack(outputs), following


def shares_of_rows(links: list[tuple[int, int, float]]) -> tuple[list[int], torch.Tensor]:
    """The two rows of every slot, one slot after another, and their shares in it."""
    rows = [row for left, right, _ in links for row in (left, right)]
    return rows, torch.tensor([share for _, _, alpha in links for share in (1 - alpha, alpha)])


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, shares: torch.Tensor, heads: int
) -> torch.Tensor:
    """Attention of one row, `(dim,)`, to rows of which each counts with its share."""
    parts = []
    for own_query, own_keys, own_values in zip(query.chunk(heads), keys.chunk(heads, -1), values.chunk(heads, -1)):
        logits = own_keys @ own_query / len(own_query) ** 0.5
        weights = shares * (logits - logits.max()).exp()
        parts.append(weights / weights.sum() @ own_values)
    return torch.cat(parts)
