"""From the settings and the patch embeddings of a call to its plans, and on to the next call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..configuration import CONTEXT_WEIGHT, TemporalReuseConfig
from .bidirectional import choose_corners, content_alpha
from .causal import choose_changed
from .importance import saliency_weights
from .norms import content_norms, mean_norm
from .plan import NEVER, ReusePlan
from .stream_state import StreamState


MAX_FRAMES = 64
"""Frames planned at once: bounds the memory of planner and packed pass, and the rounding of the planner's sums."""


@dataclass(frozen=True)
class Spent:
    """
    What the plans of a call have spent so far, from which follows what its budget leaves for the next.

    Attributes:
        frames (`int` or `torch.LongTensor` of shape `()`): frames that were planned.
        tokens (`int` or `torch.LongTensor` of shape `(batch,)`): tokens of each stream that are computed in them.
    """

    frames: int | torch.Tensor = 0
    tokens: int | torch.Tensor = 0

    def after(self, plan: ReusePlan) -> Spent:
        """The same with one more plan."""
        return Spent(self.frames + plan.shape[1], self.tokens + plan.computed.sum((1, 2)))


NOTHING_SPENT = Spent()
"""Where the call has no plan yet."""


@dataclass(frozen=True)
class Planner:
    """
    Makes the plans of one call, one after another. It sees patch embeddings and the settings, and knows nothing of
    models.

    Args:
        config: the settings.
        grid (`tuple[int, int]`): rows and columns of patches in a frame.
        prefix_tokens (`int`): tokens in front of the patches (CLS, registers), which are always computed.
        compute_all (`bool`): whether every token is wanted, whatever the settings say.
        merges_frames (`bool`): whether rows of the frames of a plan are merged with one another.
        positions (`torch.Tensor` of shape `(1, patches, dim)`, *optional*): what the embeddings hold beside content,
            the same in every frame; it is left out of the norm that errors are relative to.
        thresholds (`torch.DoubleTensor` of shape `(batch,)`, *optional*): of the streams, instead of that of `config`.
    """

    config: TemporalReuseConfig
    grid: tuple[int, int]
    prefix_tokens: int = 1
    compute_all: bool = False
    merges_frames: bool = False
    positions: torch.Tensor | None = None
    thresholds: torch.Tensor | None = None

    @property
    def observes_attention(self) -> bool:
        """Whether the first token's attention in whole frames is recorded, and says how much each position counts."""
        return self.prefix_tokens > 0 and self.config.saliency_weight > 0 and self.config.mode != "off"

    @property
    def first_frame_alone(self) -> bool:
        """
        Whether the first frame of a stream is a plan of its own, which runs before the others are planned.

        It is computed whole in any case. Run first, its attention tells what to look at in the others; and where rows
        merge across the frames of a plan, it stays as it is, or it would no longer be computed whole.
        """
        return self.observes_attention or self.merges_frames

    def is_fresh(self, streams: StreamState | None) -> torch.Tensor | None:
        """Which streams have no valid state at all, shape `(batch,)`; `None` before the first call."""
        return None if streams is None else (streams.age >= NEVER).all(-1)

    @torch.no_grad()
    def plan(self, patches: torch.Tensor, streams: StreamState | None, spent: Spent = NOTHING_SPENT) -> ReusePlan:
        """
        Plans as many of the coming frames as can be decided on at once, and at least one.

        Args:
            patches (`torch.Tensor` of shape `(batch, frames, patches, dim)`): embeddings of the frames.
            streams: what is known of the streams; `None` if they are new. All are new, or none.
            spent (`Spent`): what the plans of the call so far have spent.

        Returns:
            A plan for the first `plan.shape[1]` of the frames.
        """
        frames = patches.shape[1]
        # What the call has planned before is held: the device need not be asked.
        fresh = streams is None or (spent == NOTHING_SPENT and bool((streams.age >= NEVER).all()))
        if self.compute_all or self.config.mode == "off" or self._computes_everything:
            return self._everything(patches[:, :MAX_FRAMES])
        if fresh and (frames == 1 or self.first_frame_alone):
            return self._everything(patches[:, :1])

        return self.plan_next(patches[:, :MAX_FRAMES], None if fresh else streams, spent)

    @torch.no_grad()
    def plan_next(self, patches: torch.Tensor, past: StreamState | None, spent: Spent = NOTHING_SPENT) -> ReusePlan:
        """
        Plans frames of streams of which all go on, or all are new; in mode "bidirectional" the device is asked for
        nothing.

        Args:
            patches (`torch.Tensor` of shape `(batch, frames, patches, dim)`): embeddings of at most `MAX_FRAMES`.
            past: what is known of the streams; `None` if they are new.
            spent: as in `plan`.
        """
        weights = self._weights(patches, past)
        features = patches.float()
        reference = age = debt = None
        if past is not None:
            reference = past.reference.float()
            age, debt = past.age[:, self.prefix_tokens :], past.debt
        bidirectional = self.config.mode == "bidirectional"
        budget = self._patch_budget(features.shape[1], spent)
        settings: tuple[Any, ...] = (self.grid, self.config, budget, self.thresholds)
        if bidirectional:
            # The first frame of new streams is no part of what is planned, whether it is a plan of its own or not.
            planned = patches[:, 1:] if past is None and patches.shape[1] > 1 else patches
            scale = self.mean_norms(planned).mean(1)
            # Small weights are sooner scaled than large embeddings.
            chosen, debt = choose_corners(features, reference, age, weights / scale[:, None], *settings), None
        else:
            chosen, debt = choose_changed(
                features,
                reference,
                age,
                debt,
                weights,
                *settings,
                norms=self._norms(patches, past),
                pauses_when_whole=self.observes_attention,
            )
        computed = torch.cat([chosen.new_ones(*chosen.shape[:2], self.prefix_tokens), chosen], dim=-1)
        plan = ReusePlan.build(
            computed,
            None if past is None else past.age,
            interpolate=bidirectional,
            record_saliency=self.observes_attention,
        )
        plan.debt = debt
        if bidirectional:
            prefix, by_time = plan.alpha.tensor_split([self.prefix_tokens], dim=-1)
            plan.alpha = torch.cat([prefix, content_alpha(features, reference, age, chosen, by_time, scale)], dim=-1)
            points = features.shape[1] - (past is None)
            plan.planning_multiply_adds = patches.shape[2] * points * points * patches.shape[-1]
        return plan

    @torch.no_grad()
    def choose_next(self, patches: torch.Tensor, streams: StreamState) -> tuple[torch.Tensor, torch.Tensor]:
        """
        What `plan` chooses of the next frame of streams in mode "causal", without asking the device for anything.

        Args:
            patches (`torch.Tensor` of shape `(batch, 1, patches, dim)`): embeddings of the frame.
            streams: what is known of the streams, of which none is new.

        Returns:
            `torch.BoolTensor` of shape `(batch, patches)`: the patches to compute; and the sums of their errors after
            that, a `torch.FloatTensor` of the same shape.
        """
        chosen, debt = choose_changed(
            patches.float(),
            streams.reference.float(),
            streams.age[:, self.prefix_tokens :],
            streams.debt,
            self._weights(patches, streams),
            self.grid,
            self.config,
            self._patch_budget(1, NOTHING_SPENT),  # type: ignore[arg-type]
            self.thresholds,
            norms=self._norms(patches, streams),
        )
        return chosen[:, 0], debt

    def _weights(self, patches: torch.Tensor, past: StreamState | None) -> torch.Tensor:
        """Factors of the errors of all patches, shape `(batch, patches)`."""
        weights = patches.new_ones(patches.shape[0], patches.shape[2], dtype=torch.float32)
        if past is not None and self.observes_attention:
            weights = saliency_weights(past.saliency, self.config.saliency_weight)
        if self.config.dense_outputs:
            # What counts everywhere is no more in the mean than what counts nearby alone.
            weights = weights * ((1 + CONTEXT_WEIGHT) / (1 + self.config.context_weight)) ** 0.5
        return weights

    def remember(
        self,
        plan: ReusePlan,
        patches: torch.Tensor,
        streams: StreamState | None,
        observed: torch.Tensor | None = None,
        attention: torch.Tensor | None = None,
    ) -> StreamState:
        """
        The state of the streams after a plan was carried out.

        Args:
            plan, patches: the plan and the embeddings of its frames.
            streams: the state before.
            observed (`torch.LongTensor` of shape `(observed,)`, *optional*): streams whose CLS attention was observed.
            attention (`torch.FloatTensor` of shape `(observed, tokens)`, *optional*): the attention.
        """
        batch, frames, tokens = plan.shape
        saliency = patches.new_full((batch, patches.shape[2]), torch.nan, dtype=torch.float32)
        last_time = frames - plan.age[:, self.prefix_tokens :]
        reference = patches.gather(1, last_time.clamp(min=0)[:, None, :, None].expand(-1, 1, -1, patches.shape[-1]))[
            :, 0
        ]
        if streams is not None:
            saliency = streams.saliency
            reference = torch.where(last_time[..., None] >= 0, reference, streams.reference)
        if observed is not None and attention is not None:
            saliency = saliency.index_copy(0, observed, attention[:, self.prefix_tokens :])
        return StreamState(reference.detach(), plan.age, saliency, plan.debt)

    @property
    def _computes_everything(self) -> bool:
        return self.thresholds is None and self.config.computes_everything

    def for_streams(self, streams: torch.Tensor) -> Planner:
        """The planner of some of the streams."""
        thresholds = None if self.thresholds is None else self.thresholds[streams.cpu()]
        return replace(self, thresholds=thresholds)

    def _patch_budget(self, frames: int, spent: Spent) -> float | torch.Tensor | None:
        """
        Share of the patches of the next frames that the budget leaves after what the call has spent so far, for all
        streams or for each.
        """
        budget = self.config.compute_budget
        if budget is None:
            return None
        patches = self.grid[0] * self.grid[1]
        tokens = patches + self.prefix_tokens
        if self.config.mode == "causal":
            # A stream has no end over which a first frame could be spread: each frame meets the budget by itself.
            return (budget * tokens - self.prefix_tokens) / patches
        left = budget * (spent.frames + frames) * tokens - spent.tokens
        return (left - frames * self.prefix_tokens) / (frames * patches)

    def _everything(self, patches: torch.Tensor) -> ReusePlan:
        batch, frames, positions, _ = patches.shape
        shape = (batch, frames, positions + self.prefix_tokens)
        return ReusePlan.whole(shape, patches.device, self.observes_attention)

    def _norms(self, patches: torch.Tensor, past: StreamState | None) -> torch.Tensor:
        """Of what the streams were last computed from, and of the frames; shape `(batch, 1 + frames, patches)`."""
        norms = content_norms(patches, self.positions)
        held = norms[:, 0] if past is None else content_norms(past.reference, self.positions)
        return torch.cat([held[:, None], norms], dim=1)

    def mean_norms(self, patches: torch.Tensor) -> torch.Tensor:
        """Mean norm of the patch embeddings of each frame, positions left out; shape `(batch, frames)`."""
        return mean_norm(content_norms(patches, self.positions))
