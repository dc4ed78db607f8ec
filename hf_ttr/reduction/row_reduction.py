"""The rows of one call on their way through the layers, where some are merged and some are left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ..execution.softcap import soft_capped
from .base import LayerReduction, ModelShape, Observed
from .contract import check_change, checked_count, is_foreign
from .rows import RowChange, RowSets, padded_size


ATTENTION = frozenset({"importance", "sharpness"})


class RowReduction:
    """
    What the methods of a config make of the rows of a call, layer by layer.

    How many rows each layer has is known beforehand (`counts`); which become one, and which are left out, is found on
    the way. `expand` gives back the state of every row that the call began with.

    Args:
        methods: the methods, in the order in which they work in a layer.
        model: the model.
        counts (`list[int]`): rows of each set (frame, window) before the first layer.
        device: of the rows.
        sizes (`torch.FloatTensor` of shape `(rows,)`, *optional*): how many tokens each row stands for; by default 1.
        layers (`int`, *optional*): how many layers reduce, by default all.
        keep_last_states (`bool`): whether `expand_last` is wanted in the end.

    Attributes:
        whole_counts (`list[int]`): rows that a set of all tokens would have in each layer, and behind the last.
        counts, merged, left_out (`list[list[int]]`): for each layer, and behind the last, the rows of each set; how
            many of its initial rows are merged into others by then; and how many are left out.
        sizes (`torch.FloatTensor` of shape `(rows,)`): how many tokens each row stands for now.
        place (`torch.LongTensor` of shape `(initial rows,)`, *optional*): the row that stands for each initial one
            now, -1 where it was left out; `None` as long as nothing was done.
        origin (`torch.LongTensor` of shape `(rows,)`, *optional*): which initial row each row is that is left now, of
            those that were merged into one the one that stayed; `None` as long as nothing was done.
        places (`list[torch.LongTensor | None]`): `place` behind each layer so far.
        last_layers (`torch.LongTensor` of shape `(initial rows,)`, *optional*): the last layer whose attention saw
            each initial row; `None` where none is ever left out.
    """

    def __init__(
        self,
        methods: Sequence[LayerReduction],
        model: ModelShape,
        counts: list[int],
        device: torch.device,
        sizes: torch.Tensor | None = None,
        layers: int | None = None,
        keep_last_states: bool = True,
    ) -> None:
        self.model = model
        self.is_proportional = all(method.proportional_attention for method in methods)
        self.sets = RowSets(counts, device)
        self.sizes = torch.ones(len(self.sets), dtype=torch.float32, device=device) if sizes is None else sizes
        self.place: torch.Tensor | None = None
        self.origin: torch.Tensor | None = None
        self.places: list[torch.Tensor | None] = []
        self.counts, self.merged, self.left_out = [counts], [[0] * len(counts)], [[0] * len(counts)]
        self.whole_counts = [model.tokens]
        self._steps: list[list[tuple[LayerReduction, list[int]]]] = []
        self._weights: torch.Tensor | None = None
        self._members = torch.ones(len(self.sets), dtype=torch.float32, device=device)
        self._has_merged = False
        self._observed: dict[str, torch.Tensor] = {}
        self._keep_last_states = keep_last_states
        self._last_states: torch.Tensor | None = None
        self.last_layers: torch.Tensor | None = None
        for layer in range(model.layers):
            left, steps, whole = self.counts[-1], [], self.whole_counts[-1]
            gone = {True: self.left_out[-1], False: self.merged[-1]}
            for method in methods if layers is None or layer < layers else ():
                whole -= _announced(method, layer, whole, model.tokens, model)
                removed = [_announced(method, layer, *pair, model) for pair in zip(left, counts)]
                if any(removed):
                    left = [count - less for count, less in zip(left, removed)]
                    gone[method.prunes] = [before + more for before, more in zip(gone[method.prunes], removed)]
                    steps.append((method, removed))
            self.counts.append(left)
            self.whole_counts.append(whole)
            self.merged.append(gone[False])
            self.left_out.append(gone[True])
            self._steps.append(steps)

    def multiply_adds(self, layer: int, number: int) -> int:
        """What the decisions of a layer cost on one set."""
        count, model = self.counts[layer][number], self.model
        total, needs = 0, self._needs(layer, number) & ATTENTION
        if needs:
            queries = 1 if self._first_tokens_suffice(needs) else padded_size(count)
            total += queries * padded_size(count) * model.heads * model.key_size
        for method, removed in self._steps[layer]:
            if removed[number]:
                total += method.multiply_adds(count, model)
                count -= removed[number]
        return total

    def observe(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        scaling: float,
        bias: torch.Tensor | None = None,
        tokens: torch.Tensor | None = None,
        softcap: float | None = None,
    ) -> None:
        """
        Takes from the attention of a layer what its methods want to see.

        Args:
            layer (`int`): number of the layer.
            query, key (`torch.Tensor`): of sets of the same size, `(sets, heads, rows, head_dim)`, or packed, `(1,
                heads, rows, head_dim)`.
            scaling (`float`): factor of the scores.
            bias (`torch.Tensor` of shape `(1, heads, tokens, tokens)`, *optional*): what the model adds to the scores
                of each pair of tokens of a set.
            tokens (`torch.LongTensor` of shape `(rows,)` or `(sets, rows)`, *optional*): which of them each row is; by
                default all of them, in order.
            softcap (`float`, *optional*): the bound of the scores before that, of a model that has one.
        """
        needs = frozenset[str]().union(*(method.needs for method, _ in self._steps[layer]))
        if "keys" in needs:
            self._observed["keys"] = key.mean(1).flatten(0, 1)
        if needs & ATTENTION:
            query, key = (states.detach().transpose(1, 2).flatten(0, 1) for states in (query, key))
            if bias is not None:
                bias = bias[0].detach()
                every = torch.arange(len(key), device=key.device) % bias.shape[-1]
                tokens = every if tokens is None else tokens.flatten()
            zeros = torch.zeros(len(key), dtype=torch.float32, device=key.device)
            self._observed |= {name: zeros.clone() for name in needs & ATTENTION}
            by_needs: dict[frozenset[str], list[int]] = {}
            for number in range(len(self.sets.counts)):
                by_needs.setdefault(self._needs(layer, number) & ATTENTION, []).append(number)
            for own, numbers in by_needs.items():
                if own:
                    self._observe_attention(own, numbers, query, key, scaling, bias, tokens, softcap)

    def reduce(self, layer: int, states: torch.Tensor) -> torch.Tensor:
        """
        Carries out what the methods decide for a layer, of which they were shown the attention by `observe`.

        Args:
            layer (`int`): number of the layer.
            states (`torch.Tensor`): after attention and its residual sum; sets of the same size, `(sets, rows,
                hidden_size)`, or packed, `(1, rows, hidden_size)`.

        Returns:
            The rows that are left, in the same layout and order.
        """
        if not self._steps[layer]:
            self.places.append(self.place)
            return states
        rows = states.flatten(0, 1)
        for method, removed in self._steps[layer]:
            weights = self.sizes if self._weights is None else self._weights
            observed = Observed(rows, self.sizes, weights=weights, **self._observed)
            change = method.change(layer, self.sets, removed, observed, self.model.protected)
            if is_foreign(method):
                check_change(method, layer, change, self.sets, removed, rows, self.model.protected)
            if change.left_out is not None:
                self._remember_left_out(layer, change.left_out, rows)
            rows, kept = self._apply(change, rows, removed)
            self._observed = {name: part.index_select(0, kept) for name, part in self._observed.items()}
        self._observed = {}
        self.places.append(self.place)
        return rows.unflatten(0, (states.shape[0], -1))

    def expand(self, states: torch.Tensor) -> torch.Tensor:
        """
        The states of all initial rows: merged ones share theirs, and those left out have zeros.

        Args:
            states (`torch.Tensor` of shape `(layout, heads, rows, dim)`): of the rows that are left.
        """
        if self.place is None:
            return states
        rows = states.transpose(1, 2).flatten(0, 1).index_select(0, self.place.clamp(min=0))
        if self.last_layers is not None:
            rows = rows.masked_fill((self.place < 0)[:, None, None], 0)
        return rows.unflatten(0, (states.shape[0], -1)).transpose(1, 2)

    def expand_last(
        self, states: torch.Tensor, norm: Callable[[torch.Tensor], torch.Tensor] | None = None
    ) -> torch.Tensor:
        """
        The states of all initial rows; those left out have the state that they were left out with.

        Args:
            states (`torch.Tensor` of shape `(layout, rows, hidden_size)`): of the rows that are left.
            norm: what these went through since the last layer.
        """
        every = self.expand(states[:, None])[:, 0]
        if self.place is None or self._last_states is None:
            return every
        is_kept = (self.place >= 0).unflatten(0, (len(every), -1))
        last = self._last_states if norm is None else norm(self._last_states)
        return torch.where(is_kept[..., None], every, last.unflatten(0, (len(every), -1)))

    @property
    def key_sizes(self) -> torch.Tensor:
        """How often each row counts in attention, shape `(rows,)`."""
        return self.sizes if self.is_proportional else self.sizes / self._members

    def logit_mask(self, query: torch.Tensor) -> torch.Tensor | None:
        """
        What is added to the logits of sets of the same size, `(sets, 1, queries, rows)`: a row counts as often as it
        has tokens, unless a method was told otherwise.

        Args:
            query (`torch.Tensor` of shape `(sets, heads, queries, head_dim)`): the queries.
        """
        if not self._has_merged or not self.is_proportional:
            return None
        logits = self.sizes.log().to(query.dtype).unflatten(0, (len(query), -1))
        return logits[:, None, None].expand(-1, -1, query.shape[2], -1)

    def _needs(self, layer: int, number: int) -> frozenset[str]:
        """What the methods that take rows from a set in a layer want to see."""
        return frozenset().union(*(method.needs for method, removed in self._steps[layer] if removed[number]))

    def _first_tokens_suffice(self, needs: frozenset[str]) -> bool:
        return self.model.has_first_token and "sharpness" not in needs

    @torch.no_grad()
    def _observe_attention(
        self,
        needs: frozenset[str],
        numbers: list[int],
        query: torch.Tensor,
        key: torch.Tensor,
        scaling: float,
        pair_bias: torch.Tensor | None,
        tokens: torch.Tensor | None,
        softcap: float | None,
    ) -> None:
        """Attention among the rows of some sets, head by head; `query` and `key` are `(rows, heads, dim)`."""
        heads, is_first = key.shape[1], self.model.has_first_token
        for group in self.sets.padded(numbers):
            is_row = group.is_row[:, None]
            bias = self.key_sizes[group.rows].log()[:, None].masked_fill(~is_row, -torch.inf)
            asking = group.rows[:, :1] if self._first_tokens_suffice(needs) else group.rows
            counted = (self.sizes[asking] * group.is_row[:, : asking.shape[1]])[..., None]
            importance = bias.new_zeros(group.rows.shape)
            mean = bias.new_zeros((*asking.shape, group.rows.shape[1]) if "sharpness" in needs else 0)
            for head in range(heads):
                scores = query[asking, head] @ key[group.rows, head].transpose(1, 2)
                scores = soft_capped(scores.float() * scaling, softcap)
                if pair_bias is not None and tokens is not None:
                    scores = scores + pair_bias[head][tokens[asking][:, :, None], tokens[group.rows][:, None]]
                if "importance" in needs:
                    weights = (scores + bias).softmax(-1)
                    importance += weights[:, 0] if is_first else (weights * counted).sum(1)
                if "sharpness" in needs:
                    mean += scores.masked_fill(~is_row, -torch.inf).softmax(-1) / heads
            if "importance" in needs:
                self._observed["importance"][group.rows[group.is_row]] = importance[group.is_row] / heads
            if "sharpness" in needs:
                sharpness = torch.special.xlogy(mean, mean).sum(-1)
                self._observed["sharpness"][group.rows[group.is_row]] = sharpness[group.is_row]

    def _apply(self, change: RowChange, rows: torch.Tensor, removed: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows after a change, and which of those before it they are."""
        gone = torch.zeros(len(rows), dtype=torch.bool, device=rows.device).index_fill_(0, change.sources, True)
        if change.left_out is not None:
            gone.index_fill_(0, change.left_out, True)
        kept = torch.nonzero_static(~gone, size=len(rows) - sum(removed)).squeeze(-1)
        step = (~gone).cumsum(0) - 1
        result = rows.index_select(0, kept)
        sizes, members = self.sizes[kept], self._members[kept]
        if len(change.sources):
            targets = step[change.targets]
            weights = self.sizes if change.weights is None else change.weights
            if self._weights is not None or change.weights is not None:
                carried = self._weights if change.weights is None else change.weights
                assert carried is not None
                self._weights = carried[kept].index_add(0, targets, carried[change.sources])
            given = weights[change.sources]
            total = weights[kept].index_add(0, targets, given)
            sizes = sizes.index_add(0, targets, self.sizes[change.sources])
            members = members.index_add(0, targets, self._members[change.sources])
            result = result * (weights[kept] / total).to(rows.dtype)[:, None]
            shares = (given / total[targets]).to(rows.dtype)[:, None]
            result = result.index_add_(0, targets, rows.index_select(0, change.sources) * shares)
            step[change.sources] = targets
            self._has_merged = True
        elif self._weights is not None:
            self._weights = self._weights[kept]
        if change.left_out is not None:
            step[change.left_out] = -1
        self.sizes, self._members = sizes, members
        self.place = step if self.place is None else torch.where(self.place < 0, -1, step[self.place])
        self.origin = kept if self.origin is None else self.origin[kept]
        self.sets = RowSets([count - less for count, less in zip(self.sets.counts, removed)], self.sets.device)
        return result, kept

    def mean_over_members(self, values: torch.Tensor) -> torch.Tensor:
        """
        What the rows have that are left now, of values of those that the call began with: the mean of all that became
        one row.

        Args:
            values (`torch.Tensor` of shape `(initial rows, dim)`): the values.

        Returns:
            `torch.Tensor` of shape `(rows, dim)`.
        """
        if self.place is None:
            return values
        is_left = self.place >= 0
        place = self.place[is_left]
        sums = values.new_zeros(len(self.sets), values.shape[1]).index_add_(0, place, values[is_left])
        return sums / torch.bincount(place, minlength=len(sums))[:, None].to(values.dtype)

    def _remember_left_out(self, layer: int, left_out: torch.Tensor, rows: torch.Tensor) -> None:
        """Notes the layer and the states of rows that are about to be left out, for all that they stand for."""
        device = rows.device
        is_out = torch.zeros(len(rows), dtype=torch.bool, device=device).index_fill_(0, left_out, True)
        place = torch.arange(len(rows), device=device) if self.place is None else self.place
        now = (place >= 0) & is_out[place]
        if self.last_layers is None:
            self.last_layers = torch.full_like(place, self.model.layers)
        self.last_layers = torch.where(now, layer, self.last_layers)
        if self._keep_last_states:
            before = rows.new_zeros(len(place), rows.shape[1]) if self._last_states is None else self._last_states
            self._last_states = torch.where(now[:, None], rows.index_select(0, place.clamp(min=0)), before)


def _announced(method: LayerReduction, layer: int, count: int, initial: int, model: ModelShape) -> int:
    """How many rows of a set a method removes, checked where it is a user's own."""
    removed = method.removed(layer, count, initial, model)
    return checked_count(method, layer, count, removed, model.protected) if is_foreign(method) else removed
