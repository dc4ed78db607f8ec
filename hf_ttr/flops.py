"""Multiply-adds, counted from the plan: what ran, not what might have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers.utils import ModelOutput

from .packed import FrameCall
from .planning.plan import ReusePlan
from .planning.window_plan import WindowPlan


@dataclass
class TransformerCost:
    """
    Multiply-adds of the parts of a transformer encoder.

    Attributes:
        patch: of embedding one frame, or one tubelet.
        key_value: of the key and value projections of one row, in one layer.
        row: of everything else that a row costs in one layer (query, output, MLP).
        pair: of one query attending to one key, over all heads, in one layer.
        layers: number of layers.
    """

    patch: int
    key_value: int
    row: int
    pair: int
    layers: int

    @classmethod
    def of_vit(cls, config: Any, tokens: int) -> TransformerCost:
        """
        The cost of a ViT.

        Args:
            config: a `ViTConfig`.
            tokens (`int`): tokens of a frame, CLS included.
        """
        return cls._of_encoder(config, tokens - 1, frames=1)

    @classmethod
    def of_videomae(cls, config: Any) -> TransformerCost:
        """
        The cost of a VideoMAE.

        Args:
            config: a `VideoMAEConfig`.
        """
        (height, width), (rows, columns) = _pair(config.image_size), _pair(config.patch_size)
        return cls._of_encoder(config, (height // rows) * (width // columns), config.tubelet_size)

    @classmethod
    def _of_encoder(cls, config: Any, patches: int, frames: int) -> TransformerCost:
        """Of an encoder whose embedding makes `patches` tokens of `frames` frames."""
        size = config.hidden_size
        inner = config.num_attention_heads * getattr(config, "head_dim", size // config.num_attention_heads)
        height, width = _pair(config.patch_size)
        return cls(
            patch=patches * frames * config.num_channels * height * width * size,
            key_value=2 * size * inner,
            row=2 * size * inner + 2 * size * config.intermediate_size,
            pair=2 * inner,
            layers=config.num_hidden_layers,
        )

    def dense(self, frames: int, tokens: int) -> int:
        """Multiply-adds of computing every token of `frames` frames."""
        return frames * (self.patch + self.rows(tokens, tokens, tokens))

    def rows(self, rows: int, queries: int, keys: int) -> int:
        """Multiply-adds of `rows` rows in all layers, of which `queries` attend to `keys` keys each."""
        return self.layers * self.layer(rows, queries * keys)

    def layer(self, rows: int, pairs: int) -> int:
        """Multiply-adds of `rows` rows in one layer, with so many pairs of a query and a key."""
        return rows * (self.key_value + self.row) + pairs * self.pair

    def layer_of_first_tokens(self, rows: int, pairs: int, frames: int) -> int:
        """The same in a layer that computes outputs for the CLS tokens of `frames` frames alone."""
        return rows * self.key_value + frames * self.row + pairs * self.pair


@dataclass
class ReuseReport(ModelOutput):
    """
    What a call cost, per stream: tensors of shape `(batch,)`.

    Attributes:
        computed_tokens, total_tokens (`torch.LongTensor`): tokens that went through the layers, and all tokens.
        computed_share (`torch.FloatTensor`): the one over the other.
        multiply_adds, dense_multiply_adds (`torch.LongTensor`): of this call, and of the parent model on the same
            frames. Both count every matrix product and convolution, the planner's and the head's included.
        plan (`torch.BoolTensor` of shape `(batch, frames, tokens)`, *optional*): which tokens were computed, if asked
            for with `output_reuse_plan=True`; of a VideoMAE, by tubelet and position.
    """

    computed_tokens: torch.Tensor | None = None
    total_tokens: torch.Tensor | None = None
    computed_share: torch.Tensor | None = None
    multiply_adds: torch.Tensor | None = None
    dense_multiply_adds: torch.Tensor | None = None
    plan: torch.Tensor | None = None

    def add_head(self, multiply_adds: int) -> None:
        """Adds the cost of a head, which reuse does not change, to both sides."""
        if self.multiply_adds is not None and self.dense_multiply_adds is not None:
            self.multiply_adds = self.multiply_adds + multiply_adds
            self.dense_multiply_adds = self.dense_multiply_adds + multiply_adds


class CostCounter:
    """
    Adds up what the plans of a call cost.

    Args:
        cost: the parts of the model.
        batch, frames, tokens (`int`): size of the call.
    """

    def __init__(self, cost: TransformerCost, batch: int, frames: int, tokens: int) -> None:
        self.cost = cost
        self.frames = frames
        self.tokens = tokens
        self.computed = [0] * batch
        self.multiply_adds = [frames * cost.patch] * batch
        self.plans: list[torch.Tensor] = []

    def add(self, plan: ReusePlan, call: FrameCall, last_call: FrameCall) -> None:
        """Adds a plan, carried out with `call` in all layers but the last, and what making it cost."""
        batch, frames, tokens = plan.shape
        observed = [] if call.observed_streams is None else call.observed_streams.tolist()
        for stream in range(batch):
            rows = sum(plan.row_counts[stream * frames : (stream + 1) * frames])
            pairs, last_pairs = call.pairs(stream), last_call.pairs(stream)
            if last_call.first_tokens_only:
                last = self.cost.layer_of_first_tokens(rows, last_pairs, frames)
            else:
                last = self.cost.layer(rows, last_pairs)
            self.computed[stream] += rows
            self.multiply_adds[stream] += plan.planning_multiply_adds + last
            self.multiply_adds[stream] += (self.cost.layers - 1) * self.cost.layer(rows, pairs)
            if stream in observed:
                self.multiply_adds[stream] += self.cost.layers * tokens * self.cost.pair // 2
        self.plans.append(plan.computed)

    def report(self) -> ReuseReport:
        """The sums, on the device of the plans."""
        computed = torch.cat(self.plans, dim=1)
        counts = torch.tensor(self.computed, device=computed.device)
        total = torch.full_like(counts, self.frames * self.tokens)
        return ReuseReport(
            computed_tokens=counts,
            total_tokens=total,
            computed_share=counts / total,
            multiply_adds=torch.tensor(self.multiply_adds, device=computed.device),
            dense_multiply_adds=torch.full_like(counts, self.cost.dense(self.frames, self.tokens)),
            plan=computed,
        )


def window_report(cost: TransformerCost, plan: WindowPlan, embedded: list[int]) -> ReuseReport:
    """
    What a window cost, per stream.

    Args:
        cost: the parts of the model.
        plan: what was computed.
        embedded (`list[int]`): tubelets that were embedded, for each stream.
    """
    _, times, _ = plan.shape
    slots = plan.slots
    dense = times * cost.patch + cost.rows(slots, slots, slots)
    spent = [
        tubelets * cost.patch + plan.planning_multiply_adds + cost.rows(rows, rows, keys)
        for tubelets, rows, keys in zip(embedded, plan.row_counts, plan.live_counts)
    ]
    counts = torch.tensor(plan.row_counts, device=plan.computed.device)
    total = torch.full_like(counts, slots)
    return ReuseReport(
        computed_tokens=counts,
        total_tokens=total,
        computed_share=counts / total,
        multiply_adds=torch.tensor(spent, device=counts.device),
        dense_multiply_adds=torch.full_like(counts, dense),
        plan=plan.computed,
    )


def _pair(size: Any) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])
