"""
Windows of live streams in steps of fixed shapes, whose kernels are launched at once.

As with frames (`captured_steps`) a step has two parts, between which the host reads a few numbers, and what is left of
the size of the second is filled with the tokens whose errors are largest. What a window holds lies in a table
(`WindowTable`) in which each stream has as many rows as it may come to need: attention is of so many computed rows to
all rows of the table, of which those that are not in use have no weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from ..caching.window_cache import TemporalReuseWindowCache
from ..caching.window_table import WindowTable
from ..configuration import TemporalReuseConfig
from ..execution.flops import ReuseReport, TransformerCost
from ..execution.graphs import Graphs
from ..execution.linear import dtype_of_inputs
from ..planning.plan import NEVER
from ..planning.window_links import held_uses, link_slots
from ..planning.window_plan import is_computed
from ..planning.window_planner import WindowPlanner
from .attending import LayerRun
from .captured_steps import sizes_of_steps
from .capturing import Captured
from .window_model import embed_tubelets, go_on


QUERY_GROWTH = 1.5
"""How much larger each next size is to which the rows of each of several streams are padded, in attention alone."""


def sizes_of_queries(slots: int) -> list[int]:
    """Numbers of rows to which those of each stream are padded for attention, increasing up to all slots."""
    found, size = [], 16.0
    while int(size) < slots:
        found.append(int(size))
        size *= QUERY_GROWTH
    return [*found, slots]


@dataclass
class StepWindow:
    """
    A window that went through the encoder in a step: what is read of an `EncodedWindow`.

    Attributes:
        states (`torch.Tensor` of shape `(batch, tokens, hidden_size)`): last hidden states of every token.
        cache (`TemporalReuseWindowCache`): for the next window.
        report (`ReuseReport`): what it cost.
        layers (`BaseModelOutput`): nothing is recorded on the way.
    """

    states: torch.Tensor
    cache: TemporalReuseWindowCache
    report: ReuseReport
    layers: BaseModelOutput = field(default_factory=BaseModelOutput)

    @property
    def tokens(self) -> int:
        """Tokens of a window."""
        return self.states.shape[1]

    @property
    def row_counts(self) -> list[int]:
        """All tokens of each stream: the host does not know how many rows stand for them, and heads do not ask."""
        return [self.tokens] * len(self.states)

    def every_token(self) -> torch.Tensor:
        """See `EncodedWindow.every_token`."""
        return self.states

    def first_token(self) -> torch.Tensor:
        """See `EncodedWindow.first_token`."""
        return self.states[:, 0]

    def mean_token(self) -> torch.Tensor:
        """See `EncodedWindow.mean_token`."""
        return self.states.mean(1)


@dataclass
class StepRun(LayerRun):
    """
    A layer of a step.

    Attributes:
        keys, values (`torch.Tensor` of shape `(rows of the table, heads, head_dim)`): of this layer; written to.
        places (`torch.LongTensor` of shape `(rows,)`): where in it the computed rows belong.
        padded (`torch.LongTensor` of shape `(rows,)`, *optional*): where they are among as many rows for each stream;
            `None` where there is but one.
        queries (`int`): how many these are.
        mask (`torch.Tensor` of shape `(streams, 1, queries, rows of a stream)`): what is added to the scores.
    """

    keys: torch.Tensor
    values: torch.Tensor
    places: torch.Tensor
    padded: torch.Tensor | None
    queries: int
    mask: torch.Tensor

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scaling: float,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """See `LayerRun.attend`; rows are the computed ones of all streams."""
        batch = len(self.mask)
        self.keys.index_copy_(0, self.places, key[0].transpose(0, 1))
        self.values.index_copy_(0, self.places, value[0].transpose(0, 1))
        if self.padded is not None:
            own = query[0].transpose(0, 1)
            own = own.new_zeros(batch * self.queries, *own.shape[1:]).index_copy_(0, self.padded, own)
            query = own.unflatten(0, (batch, -1)).transpose(1, 2)
        held = (states.unflatten(0, (batch, -1)).transpose(1, 2) for states in (self.keys, self.values))
        output, _ = module.attention(module, query, *held, self.mask, scaling=scaling, **kwargs)
        return output if self.padded is None else output.flatten(0, 1)[self.padded][None], None


class CapturedWindows(Captured):
    """The steps of a model of windows, by number of streams, size of windows, stride and settings."""

    def step(
        self,
        window: torch.Tensor,
        settings: TemporalReuseConfig,
        cache: TemporalReuseWindowCache,
        stride: int | None,
        planner: WindowPlanner,
    ) -> StepWindow | None:
        """
        The next window of each stream.

        Args:
            window (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): the frames.
            settings: without reduction, and not in mode "off".
            cache: that goes on plainly; what it holds is moved to where the steps read it, until it is asked for.
            stride (`int`, *optional*): as in `TakesWindows.forward`, valid.
            planner: of the windows.

        Returns:
            The window; or `None` where it is for the usual way: much of it is computed, or more rows are in use than
            there is room for, or it holds numbers that are not finite, or does not go on from the last one. The cache
            is as it was then.
        """
        stride = None if stride is None or stride >= window.shape[1] else stride
        autocast = torch.is_autocast_enabled(window.device.type)
        return self._attempt(
            (tuple(window.shape), window.dtype, autocast, stride, repr(vars(settings))),
            lambda: _Steps(self.body, self.graphs, window, cache, stride, planner, self),
            lambda steps: steps(window, cache),
        )

    def give_back(self, table: WindowTable) -> None:
        """What lies in a table of a step goes back to its cache."""
        with self._lock:
            table.give_back()


class _Steps:
    """The steps of so many streams whose windows move on by the same stride."""

    def __init__(
        self,
        body: Any,
        graphs: Graphs,
        window: torch.Tensor,
        cache: TemporalReuseWindowCache,
        stride: int | None,
        planner: WindowPlanner,
        captured: CapturedWindows,
    ) -> None:
        self.body, self.graphs, self.stride, self.planner, self.captured = body, graphs, stride, planner, captured
        self.window = window.clone()
        self.table = WindowTable(cache)
        self.shape = self.table.state.left.shape
        batch, times, positions = self.shape
        self.slots = times * positions
        parts = body.parts
        tubelet, frames = parts.tubelet(body)[0], window.shape[1]
        shares = stride is not None and stride % tubelet == 0
        self.shared = (frames - stride) // tubelet if stride is not None and shares else 0
        self.cost: TransformerCost = parts.cost(body, positions)
        # Not all models have theirs on the device, and a graph copies nothing to it.
        like = self.table.output
        self.positions: torch.Tensor = parts.positions(body).to(like.device, self.table.state.patches.dtype)[0]
        # Nothing is launched where nothing changed.
        self.sizes = [0, *sizes_of_steps(self.slots, 0, batch)]
        self.query_sizes = sizes_of_queries(self.slots)
        self.runs: dict[tuple[int, int], _Run] = {}
        self._take(cache)
        self.look = graphs.capture(self._look)

    def _take(self, cache: TemporalReuseWindowCache) -> bool:
        return self.table.take(cache, lambda: self.captured.give_back(self.table))

    def _look(self) -> None:
        """Embeds and plans; what comes of it lies where the second part finds it."""
        state, parts = self.table.state, self.body.parts
        batch, capacity = self.shape[0], self.table.capacity
        self.checksums = self.window.sum((2, 3, 4), dtype=torch.float64)
        projection, (tubelet, _, _) = parts.projection_of(self.body), parts.tubelet(self.body)
        frames = self.window[:, self.shared * tubelet :]
        self.patches = embed_tubelets(projection, frames.to(dtype_of_inputs(projection, frames.dtype)))
        if self.shared:
            self.patches = torch.cat([state.patches[:, -self.shared :], self.patches], dim=1)
        self.sources, errors = self.planner.choose(self.patches, state)
        if self.planner.first_is_read:
            self.sources[:, 0, 0] = 0
        chosen = is_computed(self.sources).flatten(1)
        # What is chosen comes first, then what has the largest errors.
        self.urgency = errors.flatten(1).masked_fill(chosen, torch.inf)
        # Of the rows that are there; those that come are new.
        self.age = (state.age + 1).clamp(max=NEVER)
        passed = self.planner.change(self.patches, state)
        self.change = (state.change.view(batch, capacity) + passed[:, None]).flatten()
        fine = torch.isfinite(self.checksums).all()
        if self.stride is not None:
            fine = fine & go_on(self.checksums, state.checksums, self.stride)
        counts, kept = chosen.sum(1), (held_uses(self.sources, state) > 0).sum(1)
        self.asked = torch.stack([counts.sum(), counts.max(), (counts + kept).max(), fine.long()])

    def __call__(self, window: torch.Tensor, cache: TemporalReuseWindowCache) -> StepWindow | None:
        if not self._take(cache):
            return None
        self.window.copy_(window)
        self.look()
        total, longest, in_use, fine = self.graphs.read(self.asked)
        size = next((size for size in self.sizes if size >= total), None)
        # What a step is filled with may all be of one stream.
        if size is None or not fine or in_use + size - total > self.table.capacity:
            return None
        queries = self._queries(size, longest)
        run = self.runs.get((size, queries))
        if run is None:
            run = self._new_run(size, queries, cache)
        run.replay()
        return run.result(cache)

    def _queries(self, size: int, longest: int) -> int:
        """How many rows there are for each stream in a step of so many, of which one stream has `longest`."""
        batch = self.shape[0]
        if batch == 1:
            return size
        return next(queries for queries in self.query_sizes if queries >= max(longest, -(-size // batch)))

    def _new_run(self, size: int, queries: int, cache: TemporalReuseWindowCache) -> _Run:
        """A run, captured, which writes to the table: should that fail, the cache holds what it held."""
        before = self.table.held()
        try:
            run = self.runs[size, queries] = _Run(self, size, queries)
        except (NotImplementedError, RuntimeError):
            cache.take_back(*before)
            raise
        return run


class _Run:
    """The second part of a step, of so many rows, and no more than so many of a stream."""

    def __init__(self, steps: _Steps, size: int, queries: int) -> None:
        self.steps, self.size, self.queries = steps, size, queries
        self.replay = steps.graphs.capture(self._work)

    def _work(self) -> None:
        steps, table = self.steps, self.steps.table
        (batch, times, _), state, slots = steps.shape, table.state, steps.slots
        rows = self._rows()
        device = rows.device
        added = torch.zeros(batch * slots, dtype=torch.bool, device=device).index_fill(0, rows, True)
        time = torch.arange(times, device=device)[:, None]
        sources = torch.where(added.view(steps.shape), time, steps.sources)
        links = link_slots(sources, state, steps.planner.interpolates)
        places, patches = links.places.flatten()[rows], steps.patches.flatten(0, 2)[rows]
        if self.size:
            padded = rows // slots * self.queries + links.numbers.flatten()[rows] if batch > 1 else None
            # Only differences matter to a softmax, and of what is not in use the logarithm is minus infinity.
            logits = (links.counts / links.counts.amax(1, keepdim=True)).log()
            mask = logits.to(table.layers[0][0].dtype)[:, None, None].expand(-1, -1, self.queries, -1)
            runs = [
                StepRun(number, None, keys, values, places, padded, self.queries, mask)
                for number, (keys, values) in enumerate(table.layers)
            ]
            states = (patches + steps.positions[rows % slots])[None]
            states = steps.body._run_layers(states, runs, return_dict=True).last_hidden_state
            table.output.index_copy_(0, places, states[0])
        left, right = (table.output[index.flatten(1)] for index in (links.left, links.right))
        self.states = torch.lerp(left, right, links.alpha.flatten(1)[..., None].to(left.dtype))
        self.computed = is_computed(sources)
        self.report = self._report(self.computed.flatten(1).sum(1), (links.counts > 0).sum(1))
        # The state for the next window. A graph may run more than once before it is captured: nothing here adds to
        # what it was, and what does is in the first part.
        state.patches.copy_(steps.patches)
        state.checksums.copy_(steps.checksums)
        state.reference.index_copy_(0, places, patches)
        state.age.copy_(steps.age.index_fill(0, places, 1))
        state.change.copy_(steps.change.index_fill(0, places, 0.0))
        state.row_slots.index_copy_(0, places, rows % slots)
        state.left.copy_(links.left)
        state.right.copy_(links.right)
        state.alpha.copy_(links.alpha)

    def _rows(self) -> torch.Tensor:
        """The slots of all streams that are computed, `torch.LongTensor` of shape `(rows,)`, increasing."""
        urgency, batch = self.steps.urgency, self.steps.shape[0]
        if not self.size:
            return torch.zeros(0, dtype=torch.long, device=urgency.device)
        # Everything that is chosen is infinitely urgent; ties are among such alone, or do not matter.
        if batch == 1:
            return urgency[0].topk(self.size).indices.sort().values
        urgent, slots = urgency.topk(self.queries, dim=1)
        slots = slots + torch.arange(batch, device=slots.device)[:, None] * self.steps.slots
        return slots.flatten()[urgent.flatten().topk(self.size).indices].sort().values

    def _report(self, counts: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Rows and multiply-adds of each stream, `torch.LongTensor` of shape `(2, streams)`."""
        cost, (_, times, positions) = self.steps.cost, self.steps.shape
        of_planning = positions * times * times * self.steps.patches.shape[-1]
        once = (times - self.steps.shared) * cost.patch + of_planning
        row, pair = cost.layer(1, 0), cost.layer(0, 1)
        return torch.stack([counts, once + cost.layers * counts * (row + keys * pair)])

    def result(self, cache: TemporalReuseWindowCache) -> StepWindow:
        """What the caller gets: copies, as the next step writes over what is here."""
        cost, (_, times, positions) = self.steps.cost, self.steps.shape
        counts, spent = self.report.clone()
        dense = cost.window(times, positions, 0)
        report = ReuseReport.of_counts(counts, times * positions, spent, dense, cost.layers)
        report.plan = self.computed.clone()
        return StepWindow(self.states.clone(), cache, report)


__all__ = ["CapturedWindows", "sizes_of_queries"]
