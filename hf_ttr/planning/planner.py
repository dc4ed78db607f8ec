"""From the settings and the patch embeddings of a call to its plans, and on to the next call."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..configuration import TemporalReuseConfig
from .bidirectional import choose_corners, content_alpha
from .causal import choose_changed
from .importance import saliency_weights
from .plan import NEVER, ReusePlan
from .stream_state import StreamState


MAX_FRAMES = 64
"""Frames planned at once: bounds the memory of planner and packed pass, and the rounding of the planner's sums."""


@dataclass
class Planner:
    """
    Makes the plans of one call, one after another. It sees patch embeddings and the settings, and knows nothing of
    models.

    Args:
        config: the settings.
        grid (`tuple[int, int]`): rows and columns of patches in a frame.
        prefix_tokens (`int`): tokens in front of the patches (CLS), which are always computed.
        compute_all (`bool`): whether every token is wanted, whatever the settings say.
        positions (`torch.Tensor` of shape `(1, patches, dim)`, *optional*): what the embeddings hold beside content,
            the same in every frame; it is left out of the norm that errors are relative to.
        thresholds (`torch.DoubleTensor` of shape `(batch,)`, *optional*): of the streams, instead of that of `config`.
    """

    config: TemporalReuseConfig
    grid: tuple[int, int]
    prefix_tokens: int = 1
    compute_all: bool = False
    positions: torch.Tensor | None = None
    thresholds: torch.Tensor | None = None
    _planned_frames: int = field(default=0, init=False)
    _computed_tokens: int | torch.Tensor = field(default=0, init=False)

    def __post_init__(self) -> None:
        if not self.prefix_tokens and self.config.saliency_weight:
            # No token in front shows what the model looks at.
            self.config = copy(self.config)
            self.config.saliency_weight = 0.0

    def is_fresh(self, streams: StreamState | None) -> torch.Tensor | None:
        """Which streams have no valid state at all, shape `(batch,)`; `None` before the first call."""
        return None if streams is None else (streams.age >= NEVER).all(-1)

    @torch.no_grad()
    def plan(self, patches: torch.Tensor, streams: StreamState | None) -> ReusePlan:
        """
        Plans as many of the coming frames as can be decided on at once, and at least one.

        Args:
            patches (`torch.Tensor` of shape `(batch, frames, patches, dim)`): embeddings of the frames.
            streams: what is known of the streams; `None` if they are new. All are new, or none.

        Returns:
            A plan for the first `plan.shape[1]` of the frames.
        """
        batch, frames, positions, _ = patches.shape
        fresh = streams is None or bool((streams.age >= NEVER).all())
        if self.compute_all or self.config.mode == "off" or self._computes_everything:
            return self._everything(patches[:, :MAX_FRAMES])
        if fresh and (frames == 1 or self.config.saliency_weight > 0):
            # The first frame is computed whole in any case; run first, it tells what to look at in the others.
            return self._everything(patches[:, :1])

        past = None if fresh else streams
        scale = self.scale(patches, past)
        weights = patches.new_ones(batch, positions, dtype=torch.float32)
        if past is not None:
            weights = saliency_weights(past.saliency, self.config.saliency_weight)
        # Errors are relative to the norm of the embeddings; small weights are sooner scaled than large embeddings.
        weights = weights / scale[:, None]
        features = patches[:, :MAX_FRAMES].float()
        reference = age = debt = None
        if past is not None:
            reference = past.reference.float()
            age, debt = past.age[:, self.prefix_tokens :], past.debt
        bidirectional = self.config.mode == "bidirectional"
        budget = self._patch_budget(features.shape[1])
        settings: tuple[Any, ...] = (weights, self.grid, self.config, budget, self.thresholds)
        if bidirectional:
            chosen, debt = choose_corners(features, reference, age, *settings), None
        else:
            chosen, debt = choose_changed(features, reference, age, debt, *settings)
        computed = torch.cat([chosen.new_ones(*chosen.shape[:2], self.prefix_tokens), chosen], dim=-1)
        self._planned_frames += computed.shape[1]
        self._computed_tokens = self._computed_tokens + computed.sum((1, 2))
        plan = ReusePlan.build(
            computed,
            None if past is None else past.age,
            interpolate=bidirectional,
            record_saliency=self.config.saliency_weight > 0,
        )
        plan.debt = debt
        if bidirectional:
            prefix, by_time = plan.alpha.tensor_split([self.prefix_tokens], dim=-1)
            plan.alpha = torch.cat([prefix, content_alpha(features, reference, age, chosen, by_time, scale)], dim=-1)
            points = features.shape[1] - (past is None)
            plan.planning_multiply_adds = positions * points * points * patches.shape[-1]
        return plan

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
        scale = self.scale(patches, streams)
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
        return StreamState(reference.detach(), plan.age, scale, saliency, plan.debt)

    @property
    def _computes_everything(self) -> bool:
        return self.thresholds is None and self.config.computes_everything

    def for_streams(self, streams: torch.Tensor) -> Planner:
        """A planner of its own for some of the streams, which has not planned anything yet."""
        thresholds = None if self.thresholds is None else self.thresholds[streams.cpu()]
        return replace(self, thresholds=thresholds)

    def _patch_budget(self, frames: int) -> float | torch.Tensor | None:
        """
        Share of the patches of the next frames that the budget leaves after what the call has computed so far, for all
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
        left = budget * (self._planned_frames + frames) * tokens - self._computed_tokens
        return (left - frames * self.prefix_tokens) / (frames * patches)

    def _everything(self, patches: torch.Tensor) -> ReusePlan:
        batch, frames, positions, _ = patches.shape
        shape = (batch, frames, positions + self.prefix_tokens)
        self._planned_frames += frames
        self._computed_tokens += frames * shape[2]
        computed = torch.ones(shape, dtype=torch.bool, device=patches.device)
        record = self.config.saliency_weight > 0 and self.config.mode != "off"
        return ReusePlan.build(computed, record_saliency=record)

    def scale(self, patches: torch.Tensor, streams: StreamState | None) -> torch.Tensor:
        """Mean norm of the embeddings of each stream's first frame, shape `(batch,)`."""
        first = patches[:, 0].detach()
        content = first if self.positions is None else first - self.positions
        scale = content.float().norm(dim=-1).mean(-1).clamp(min=1e-12)
        if streams is None:
            return scale
        return torch.where(streams.scale.isnan(), scale, streams.scale)
