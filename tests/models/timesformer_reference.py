"""Reuse in a window of divided attention as its definition says it: row by row, and without the package."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from transformers import TimesformerModel

from hf_ttr.planning.window_plan import WindowPlan

from .videomae_reference import attend


@dataclass
class Past:
    """
    The rows that are live, stream by stream.

    Attributes:
        keys, values: of each layer over time, then within each time, `(live, dim)`.
        outputs: last hidden states, `(live, dim)`, before the final norm.
    """

    keys: list[torch.Tensor] = field(default_factory=list)
    values: list[torch.Tensor] = field(default_factory=list)
    outputs: list[torch.Tensor] = field(default_factory=list)


@torch.no_grad()
def run_reference(
    model: TimesformerModel, window: torch.Tensor, plan: WindowPlan, past: Past | None
) -> tuple[torch.Tensor, Past]:
    """
    Last hidden states of every token of a window as the parent orders them, before the final norm, and the past of the
    next call.

    Args:
        model: a TimeSformer, with or without reuse: only its parts are used.
        window: `(batch, frames, channels, height, width)`.
        plan: which slots to compute, and of which rows of the table the others are made.
        past: what the previous call returned.
    """
    past, following = past or Past(), Past()
    batch, times, positions = plan.shape
    tokens = model.embeddings(window)
    grid = tokens[:, 1:].unflatten(1, (positions, times)).transpose(1, 2)
    slots: list[tuple[int, int, int] | None] = []
    hidden, front = [], []
    offset = 0 if not past.keys else len(past.keys[0])
    for stream in range(batch):
        front.append(offset + len(hidden))
        computed = [(stream, *slot) for slot in plan.computed[stream].nonzero().tolist()]
        slots += [None, *computed]
        hidden += [tokens[stream, 0], *(grid[slot] for slot in computed)]
    live = []
    for stream in range(batch):
        shared = plan.alpha[stream] > 0
        used = {*plan.left[stream].flatten().tolist(), *plan.right[stream][shared].tolist(), front[stream]}
        live += sorted(used)

    def table(stored: list[torch.Tensor], own: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([*([stored[0]] if stored else []), torch.stack(own)])

    def of_slots(rows: torch.Tensor) -> torch.Tensor:
        return torch.lerp(rows[plan.left], rows[plan.right], plan.alpha[..., None])

    for index, layer in enumerate(model.encoder.layer):
        for number, norm, module in (
            (2 * index, layer.temporal_layernorm, layer.temporal_attention),
            (2 * index + 1, layer.layernorm_before, layer.attention),
        ):
            attention, is_over_time = module.attention, number == 2 * index
            queries, own_keys, own_values = zip(*(attention.qkv(norm(row)).chunk(3) for row in hidden))
            keys = table(past.keys[number : number + 1], list(own_keys))
            values = table(past.values[number : number + 1], list(own_values))
            following.keys.append(keys[live])
            following.values.append(values[live])
            keys_of, values_of = of_slots(keys), of_slots(values)

            def ask(
                query: torch.Tensor, members: list[torch.Tensor], heads: int = attention.num_heads
            ) -> torch.Tensor:
                return attend(query, *members, torch.ones(len(members[0])), heads)

            def within(stream: int, time: int) -> list[torch.Tensor]:
                sides = ((keys, keys_of), (values, values_of))  # noqa: B023
                return [torch.cat([rows[front[stream]][None], of[stream, time]]) for rows, of in sides]

            stream = -1
            for row, slot in enumerate(slots):
                if slot is None:
                    stream += 1
                    if not is_over_time:
                        every = [module.output(ask(queries[row], within(stream, time))) for time in range(times)]
                        hidden[row] = hidden[row] + torch.stack(every).mean(0)
                elif is_over_time:
                    _, _, position = slot
                    members = [of[stream, :, position] for of in (keys_of, values_of)]
                    hidden[row] = hidden[row] + layer.temporal_dense(module.output(ask(queries[row], members)))
                else:
                    hidden[row] = hidden[row] + module.output(ask(queries[row], within(stream, slot[1])))
        hidden = [row + layer.output(layer.intermediate(layer.layernorm_after(row))) for row in hidden]

    outputs = table(past.outputs, hidden)
    following.outputs = [outputs[live]]
    every = of_slots(outputs).transpose(1, 2).flatten(1, 2)
    return torch.cat([outputs[front][:, None], every], dim=1), following
