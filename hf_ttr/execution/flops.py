"""Multiply-adds, counted from the plan: what ran, not what might have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.utils import ModelOutput

from ..planning.plan import ReusePlan
from ..planning.window_plan import WindowPlan
from ..reduction.frame_merging import MergedFrames
from ..reduction.row_reduction import RowReduction
from .packed import FrameCall
from .token_maps import TokenMaps


@dataclass
class TransformerCost:
    """
    Multiply-adds of the parts of a transformer encoder.

    Attributes:
        patch: of embedding one frame, or one tubelet.
        key_value: of the key and value projections of one row, in one layer.
        query_output: of the query and output projections of one row, in one layer.
        mlp: of the MLP of one row, in one layer.
        pair: of one query attending to one key, over all heads, in one layer.
        layers: number of layers.
    """

    patch: int
    key_value: int
    query_output: int
    mlp: int
    pair: int
    layers: int

    @property
    def row(self) -> int:
        """Of everything but keys and values that a row costs in one layer."""
        return self.query_output + self.mlp

    @classmethod
    def of_layer(
        cls, layer: nn.Module, attention: str, projections: Sequence[nn.Module], patch: int, layers: int
    ) -> TransformerCost:
        """
        The cost of an encoder, out of the linear layers of one of its layers, whatever its MLP looks like.

        Args:
            layer: one of its layers.
            attention (`str`): where in it the half is that ends in a residual sum of attention.
            projections: in that, the linear layers of queries, keys and values, and maybe others.
            patch (`int`): see the class.
            layers (`int`): how many layers there are.
        """
        query, key, value = projections[:3]
        key_value = multiply_adds_of_row(key) + multiply_adds_of_row(value)
        of_attention = multiply_adds_of_row(layer.get_submodule(attention))
        return cls(
            patch=patch,
            key_value=key_value,
            query_output=of_attention - key_value,
            mlp=multiply_adds_of_row(layer) - of_attention,
            pair=2 * int(query.out_features),  # type: ignore[arg-type]
            layers=layers,
        )

    def dense(self, frames: int, tokens: int) -> int:
        """Multiply-adds of computing every token of `frames` frames."""
        return frames * (self.patch + self.rows(tokens, tokens, tokens))

    def window(self, times: int, positions: int, prefix: int) -> int:
        """Multiply-adds of computing every slot of a window, and the tokens in front."""
        tokens = prefix + times * positions
        return times * self.patch + self.rows(tokens, tokens, tokens)

    def rows(self, rows: int, queries: int, keys: int) -> int:
        """Multiply-adds of `rows` rows in all layers, of which `queries` attend to `keys` keys each."""
        return self.layers * self.layer(rows, queries * keys)

    def layer(self, rows: int, pairs: int, mlp_rows: int | None = None) -> int:
        """
        Multiply-adds of `rows` rows in one layer, with so many pairs of a query and a key; `mlp_rows` of them are left
        for the MLP, by default all.
        """
        attention = rows * (self.key_value + self.query_output) + pairs * self.pair
        return attention + (rows if mlp_rows is None else mlp_rows) * self.mlp

    def observed(self, tokens: int) -> int:
        """Multiply-adds of recording the attention of the first token of a frame of so many tokens, in all layers."""
        return self.layers * tokens * self.pair // 2

    def layer_of_few(self, rows: int, pairs: int, outputs: int) -> int:
        """The same in a layer that computes outputs for so many of its rows alone."""
        return rows * self.key_value + outputs * self.row + pairs * self.pair


@dataclass
class DividedCost(TransformerCost):
    """
    Multiply-adds of the parts of an encoder whose layers attend over time, and then within each time.

    Attributes:
        key_value: of attention over time, and of the projections of queries, keys and values within a time, of one
            row: of what is done whether outputs are wanted for it or not.
        query_output: of the output projection within a time.
        over_time: the first part of `key_value`.
    """

    over_time: int

    def window(self, times: int, positions: int, prefix: int) -> int:
        """See `TransformerCost.window`; the tokens in front are computed within each time, and not over time."""
        slots, members = times * positions, prefix + positions
        pairs = positions * times**2 + times * members**2
        within = self.key_value + self.query_output - self.over_time
        layer = slots * self.over_time + times * members * within + pairs * self.pair + (prefix + slots) * self.mlp
        return times * self.patch + self.layers * layer


def multiply_adds_of_row(module: nn.Module) -> int:
    """
    Multiply-adds of one row, or one patch, in all linear layers and convolutions of a module, itself included.

    Quantized and adapted layers count as what they stand for.
    """
    inputs, outputs = (getattr(module, name, None) for name in ("in_features", "out_features"))
    if inputs is not None and outputs is not None:
        return int(inputs) * int(outputs)
    base: Any = getattr(module, "base_layer", module)
    kernel = getattr(base, "kernel_size", None)
    if kernel is not None and hasattr(base, "out_channels"):
        return int(base.in_channels * base.out_channels * math.prod(kernel)) // int(base.groups)
    return sum(multiply_adds_of_row(part) for part in module.children())


def multiply_adds_of_pooling(module: nn.Module, rows: int) -> int:
    """
    Multiply-adds of a head in which one query attends to so many rows, with an MLP behind it.

    Args:
        module: it has an `attention`, which is torch's `MultiheadAttention`.
        rows (`int`): what the query attends to.
    """
    attention: Any = module.attention
    size = attention.embed_dim
    # torch holds the projections of query, keys and values in one matrix, and multiplies with each where it is due.
    projections = (1 + 2 * rows) * size * size
    return projections + 2 * rows * size + multiply_adds_of_row(module)


@dataclass
class ReuseReport(ModelOutput):
    """
    What a call cost, per stream: tensors of shape `(batch,)`.

    Attributes:
        computed_tokens, total_tokens (`torch.LongTensor`): tokens that went through the layers, and all tokens.
        computed_share (`torch.FloatTensor`): the one over the other.
        multiply_adds, dense_multiply_adds (`torch.LongTensor`): of this call, and of the parent model on the same
            frames. Both count every matrix product and convolution, the planner's and the head's included, and what
            methods of reduction spend on their decisions.
        computed_by_layer, reused_by_layer (`torch.LongTensor` of shape `(batch, layers)`): tokens whose row a layer
            computes, and tokens made of those of other frames or windows.
        merged_by_layer, pruned_by_layer (`torch.LongTensor` of shape `(batch, layers)`): tokens that were merged into
            others, or left out, in the layers before.
        plan (`torch.BoolTensor` of shape `(batch, frames, tokens)`, *optional*): which tokens were computed, if asked
            for with `output_reuse_plan=True`; of a window, by tubelet and position, without tokens in front.
        maps (`TokenMaps`, *optional*): what became of every token, if asked for with `output_token_maps=True`.
    """

    computed_tokens: torch.Tensor | None = None
    total_tokens: torch.Tensor | None = None
    computed_share: torch.Tensor | None = None
    multiply_adds: torch.Tensor | None = None
    dense_multiply_adds: torch.Tensor | None = None
    computed_by_layer: torch.Tensor | None = None
    reused_by_layer: torch.Tensor | None = None
    merged_by_layer: torch.Tensor | None = None
    pruned_by_layer: torch.Tensor | None = None
    plan: torch.Tensor | None = None
    maps: TokenMaps | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it but `maps` as JSON can hold it: numbers in lists."""
        return {name: part.tolist() for name, part in self.items() if isinstance(part, torch.Tensor)}

    def add_kept_frames(self, frames: int) -> None:
        """
        Adds frames in front of which an earlier call computed everything, and this one nothing.

        Args:
            frames (`int`): how many; the report is of whole frames, and holds its plan.
        """
        assert self.plan is not None
        self._count_frames(self.plan.shape[1], frames)
        self.plan = nn.functional.pad(self.plan, (0, 0, frames, 0))
        self.maps = None if self.maps is None else self.maps.with_kept_frames(frames)

    @classmethod
    def of_counts(
        cls, counts: torch.Tensor, tokens: int, multiply_adds: torch.Tensor, dense: int, layers: int
    ) -> ReuseReport:
        """
        The report of a step of streams, out of numbers that the host does not know.

        Args:
            counts, multiply_adds (`torch.LongTensor` of shape `(batch,)`): computed tokens, and what they cost.
            tokens, dense (`int`): all tokens of a stream, and what the parent spends on them.
            layers (`int`): how many layers each token goes through.
        """
        total = torch.full_like(counts, tokens)
        by_layer = counts[:, None].expand(-1, layers)
        none = torch.zeros_like(by_layer)
        return cls(
            computed_tokens=counts,
            total_tokens=total,
            computed_share=counts.float() / total,
            multiply_adds=multiply_adds,
            dense_multiply_adds=torch.full_like(counts, dense),
            computed_by_layer=by_layer,
            reused_by_layer=total[:, None] - by_layer,
            merged_by_layer=none,
            pruned_by_layer=none,
        )

    @classmethod
    def join(cls, reports: Sequence[ReuseReport]) -> ReuseReport:
        """The report of several calls on the same streams, one after another, as of one."""
        sums: dict[str, Any] = {
            name: torch.stack([report[name] for report in reports]).sum(0)
            for name in reports[0]
            if name not in ("computed_share", "plan", "maps")
        }
        sums["computed_share"] = sums["computed_tokens"].float() / sums["total_tokens"]
        if reports[0].plan is not None:
            sums["plan"] = torch.cat([report["plan"] for report in reports], dim=1)
        if reports[0].maps is not None:
            sums["maps"] = TokenMaps.join([report["maps"] for report in reports])
        return cls(**sums)

    def spread_in_time(self, kept: torch.Tensor, nearest: torch.Tensor) -> None:
        """
        Makes the report of some frames one of all, of which the others were left out.

        Args:
            kept (`torch.LongTensor` of shape `(kept,)`): the frames that the report is of.
            nearest (`torch.LongTensor` of shape `(frames,)`): for each of all frames the place in `kept` of the one
                that is nearest.
        """
        self._count_frames(len(kept), len(nearest) - len(kept))
        if self.plan is not None:
            left_out = self.plan.new_zeros(self.plan.shape[0], len(nearest), self.plan.shape[2])
            self.plan = left_out.index_copy(1, kept, self.plan)
        self.maps = None if self.maps is None else self.maps.spread_in_time(kept, nearest)

    def _count_frames(self, frames: int, more: int) -> None:
        """Makes a report of so many frames one of more, of which nothing was computed."""
        assert self.computed_tokens is not None and self.total_tokens is not None
        assert self.dense_multiply_adds is not None and self.reused_by_layer is not None
        added = self.total_tokens // frames * more
        self.total_tokens = self.total_tokens + added
        self.computed_share = self.computed_tokens.float() / self.total_tokens
        self.dense_multiply_adds = self.dense_multiply_adds // frames * (frames + more)
        self.reused_by_layer = self.reused_by_layer + added[:, None]

    def add_planning(self, multiply_adds: int) -> None:
        """Adds what planning cost each stream."""
        if self.multiply_adds is not None:
            self.multiply_adds = self.multiply_adds + multiply_adds

    def add_head(self, multiply_adds: int | torch.Tensor, dense: int | None = None) -> None:
        """
        Adds the cost of a head to both sides.

        Args:
            multiply_adds (`int` or `torch.LongTensor` of shape `(batch,)`): of each stream.
            dense (`int`, *optional*): of the parent's head, where reuse changes it.
        """
        if self.multiply_adds is not None and self.dense_multiply_adds is not None:
            self.multiply_adds = self.multiply_adds + multiply_adds
            self.dense_multiply_adds = self.dense_multiply_adds + (multiply_adds if dense is None else dense)


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
        self.by_layer = LayerCounts(batch, cost.layers)
        self.plans: list[torch.Tensor] = []

    def add(self, plan: ReusePlan, calls: list[FrameCall], merged: MergedFrames | None = None) -> None:
        """Adds a plan, carried out with a call for each layer, and what making it, and merging its rows, cost."""
        batch, frames, tokens = plan.shape
        observed = [] if calls[0].observed is None else calls[0].observed.numbers
        for stream in range(batch):
            own = slice(stream * frames, (stream + 1) * frames)
            self.computed[stream] += sum(plan.row_counts[own])
            self.multiply_adds[stream] += plan.planning_multiply_adds
            if merged is not None:
                self.multiply_adds[stream] += merged.multiply_adds[stream]
                self.by_layer.add_merged(stream, sum(merged.merged[own]))
            for layer, call in enumerate(calls):
                rows, pairs = sum(call.counts[own]), call.pairs(stream)
                self.by_layer.add(stream, layer, own, call.counts, call.reduction)
                if call.outputs is not None:
                    self.multiply_adds[stream] += self.cost.layer_of_few(rows, pairs, frames * call.outputs)
                    continue
                left = rows if call.reduction is None else sum(call.reduction.counts[layer + 1][own])
                self.multiply_adds[stream] += self.cost.layer(rows, pairs, left)
                if call.reduction is not None:
                    self.multiply_adds[stream] += sum(
                        call.reduction.multiply_adds(layer, frame) for frame in range(own.start, own.stop)
                    )
            if stream in observed:
                self.multiply_adds[stream] += self.cost.observed(tokens)
        self.plans.append(plan.computed)

    def report(self) -> ReuseReport:
        """The sums, on the device of the plans."""
        computed = torch.cat(self.plans, dim=1)
        counts = torch.tensor(self.computed, device=computed.device)
        total = torch.full_like(counts, self.frames * self.tokens)
        return ReuseReport(
            computed_tokens=counts,
            total_tokens=total,
            computed_share=counts.float() / total,
            multiply_adds=torch.tensor(self.multiply_adds, device=computed.device),
            dense_multiply_adds=torch.full_like(counts, self.cost.dense(self.frames, self.tokens)),
            **self.by_layer.report(self.frames * self.tokens, computed.device),
            plan=computed,
        )


class LayerCounts:
    """
    Adds up what becomes of the tokens of each stream in each layer.

    Args:
        batch, layers (`int`): how many streams and layers there are.
    """

    def __init__(self, batch: int, layers: int) -> None:
        self.computed, self.merged, self.pruned = ([[0] * layers for _ in range(batch)] for _ in range(3))

    def add(self, stream: int, layer: int, own: slice, counts: list[int], reduction: RowReduction | None) -> None:
        """Adds the sets of rows `own` of a stream, of which a layer gets `counts`."""
        self.computed[stream][layer] += sum(counts[own])
        if reduction is not None:
            self.merged[stream][layer] += sum(reduction.merged[layer][own])
            self.pruned[stream][layer] += sum(reduction.left_out[layer][own])

    def add_merged(self, stream: int, rows: int) -> None:
        """Adds rows of a stream that were merged before the first layer."""
        self.merged[stream] = [count + rows for count in self.merged[stream]]

    def report(self, tokens: int, device: torch.device) -> dict[str, Any]:
        """The sums, as they stand in a `ReuseReport`; what is left of so many tokens of each stream is reused."""
        parts = (self.computed, self.merged, self.pruned)
        computed, merged, pruned = (torch.tensor(part, device=device) for part in parts)
        return {
            "computed_by_layer": computed,
            "reused_by_layer": tokens - computed - merged - pruned,
            "merged_by_layer": merged,
            "pruned_by_layer": pruned,
        }


def window_report(
    cost: TransformerCost,
    plan: WindowPlan,
    embedded: list[int],
    reduction: RowReduction | None = None,
    outputs: int | None = None,
    pairs: Sequence[list[int] | None] | None = None,
) -> ReuseReport:
    """
    What a window cost, per stream.

    Args:
        cost: the parts of the model.
        plan: what was computed.
        embedded (`list[int]`): tubelets that were embedded, for each stream.
        reduction: what merged rows, or left some out.
        outputs (`int`, *optional*): how many tokens in front of each stream the last layer has outputs for; `None` for
            all tokens.
        pairs (`Sequence[list[int] | None]`, *optional*): for each layer how many pairs of a query and a key there were
            in each stream, where these are not all of its computed rows with all of its live ones.
    """
    _, times, positions = plan.shape
    tokens = plan.tokens
    dense = cost.window(times, positions, plan.prefix)
    spent = [tubelets * cost.patch + plan.planning_multiply_adds for tubelets in embedded]
    by_layer = LayerCounts(len(spent), cost.layers)
    for layer in range(cost.layers):
        rows, left = [plan.row_counts] * 2 if reduction is None else reduction.counts[layer : layer + 2]
        for stream, (count, mlp_rows) in enumerate(zip(rows, left)):
            by_layer.add(stream, layer, slice(stream, stream + 1), rows, reduction)
            keys = plan.live_counts[stream]
            if reduction is not None:
                spent[stream] += reduction.multiply_adds(layer, stream)
                keys = count if plan.stands_alone[stream] else keys
            few = outputs if layer == cost.layers - 1 else None
            own = pairs[layer] if pairs else None
            met = (count if few is None else few) * keys if own is None else own[stream]
            if few is not None:
                spent[stream] += cost.layer_of_few(count, met, few)
            else:
                spent[stream] += cost.layer(count, met, mlp_rows)
    counts = torch.tensor(plan.row_counts, device=plan.computed.device)
    total = torch.full_like(counts, tokens)
    return ReuseReport(
        computed_tokens=counts,
        total_tokens=total,
        computed_share=counts.float() / total,
        multiply_adds=torch.tensor(spent, device=counts.device),
        dense_multiply_adds=torch.full_like(counts, dense),
        **by_layer.report(tokens, counts.device),
        plan=plan.computed,
    )
