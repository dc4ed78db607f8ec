"""From the settings and the patch embeddings of a window to its plan, and on to the next window."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..configuration import TemporalReuseConfig
from .norms import content_norms, mean_norm
from .plan import NEVER
from .runs import choose_runs
from .window_plan import WindowPlan
from .window_state import WindowState


STILL = 1e-9
"""Squared change of an embedding, relative to the mean norm, that is nothing but rounding."""


@dataclass
class WindowPlanner:
    """
    Makes the plan of a window in which all tokens attend to one another. It sees patch embeddings and the settings,
    and knows nothing of models.

    Args:
        config: the settings.
        grid (`tuple[int, int]`): rows and columns of positions.
        first_is_read (`bool`): whether the head reads the first slot, which is then computed in every window.
        compute_all (`bool`): whether every token is wanted, whatever the settings say.
        thresholds (`torch.DoubleTensor` of shape `(batch,)`, *optional*): of the streams, instead of that of `config`.
        prefix (`int`): tokens in front of the slots of each stream.
    """

    config: TemporalReuseConfig
    grid: tuple[int, int]
    first_is_read: bool = False
    compute_all: bool = False
    thresholds: torch.Tensor | None = None
    prefix: int = 0

    @torch.no_grad()
    def plan(
        self, patches: torch.Tensor, state: WindowState | None, runs: torch.Tensor | None = None, entering: int = 0
    ) -> WindowPlan:
        """
        Decides for every slot of a window whether it is computed, and if not, what stands for it.

        Args:
            patches (`torch.Tensor` of shape `(batch, times, positions, dim)`): embeddings, positions left out.
            state: what is known of the streams; `None` if all are new.
            runs (`torch.LongTensor` of shape `(batch, times, positions)`, *optional*): the time of the token of the
                same position that stands for each slot in any case, as far as it is computed itself.
            entering (`int`): how many times at the end were in no window before: see `WindowState.shifted`.
        """
        batch, times, positions, dim = patches.shape
        past = None if state is None else state.past
        everything = self.thresholds is None and self.config.computes_everything
        if self.compute_all or self.config.mode == "off" or everything:
            every = torch.arange(times, device=patches.device)[:, None].expand(batch, times, positions)
            return WindowPlan.build(every if runs is None or self.compute_all else runs, past, prefix=self.prefix)
        sources, _ = self.choose(patches, state, entering)
        if runs is not None:
            of_runs = sources.gather(1, runs)
            sources = torch.where((sources >= 0) & (of_runs >= 0), of_runs, sources)
            # What stands for a slot may itself be left to an earlier one.
            for _ in range(times.bit_length()):
                sources = torch.where(sources >= 0, sources.gather(1, sources.clamp(min=0)), sources)
        if self.first_is_read:
            sources[:, 0, 0] = 0
        plan = WindowPlan.build(sources, past, self.interpolates, self.prefix)
        plan.planning_multiply_adds = positions * times * times * dim
        return plan

    @property
    def interpolates(self) -> bool:
        """Whether slots that are neither computed nor held are made of two computed tokens."""
        return self.config.mode == "bidirectional" and self.config.representative in ("spread", "interpolate")

    @torch.no_grad()
    def choose(
        self, patches: torch.Tensor, state: WindowState | None, entering: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        What stands for each slot by its content alone; the device is not asked for anything.

        Args:
            patches, state, entering: as in `plan`.

        Returns:
            As `choose_runs` does: sources, and the squared errors that they have.
        """
        scale = self.scale(patches)[:, None, None, None]
        features = patches.float() / scale
        return choose_runs(
            features,
            self._held_errors(features, scale, state, entering),
            self.grid,
            self.config,
            self.config.compute_budget,
            self.thresholds,
        )

    @torch.no_grad()
    def remember(
        self, plan: WindowPlan, patches: torch.Tensor, checksums: torch.Tensor, state: WindowState | None
    ) -> WindowState:
        """
        The state of the streams after a plan was carried out.

        Args:
            plan, patches: the plan and the embeddings of its window.
            checksums (`torch.DoubleTensor` of shape `(batch, frames)`): of its frames.
            state: the state before.
        """
        reference = plan.of_rows(patches.detach().flatten(1, 2))
        age = torch.ones(len(reference), dtype=torch.long, device=patches.device)
        change = torch.zeros(len(reference), dtype=torch.float32, device=patches.device)
        if state is not None:
            counts = torch.tensor(state.counts, device=patches.device)
            passed = self.change(patches, state).repeat_interleave(counts)
            reference = torch.cat([state.reference, reference])
            age = torch.cat([(state.age + 1).clamp(max=NEVER), age])
            change = torch.cat([state.change + passed, change])
        left, right = plan.live_slots
        return WindowState(
            patches=patches.detach(),
            checksums=checksums,
            reference=reference[plan.live],
            age=age[plan.live],
            change=change[plan.live],
            left=left,
            right=right,
            alpha=plan.alpha,
            row_slots=plan.live_row_slots,
            counts=plan.live_counts,
        )

    def _held_errors(
        self, features: torch.Tensor, scale: torch.Tensor, state: WindowState | None, entering: int = 0
    ) -> torch.Tensor | None:
        """
        Squared distances of the features to what the slots hold, shape `(batch, times, positions)`; infinite where
        they hold nothing, or something too old, and zero where nothing changed since the last window: what was decided
        then stands. Of slots that come in nothing was decided, and what they hold stands at another time.
        """
        if state is None or len(state.age) == 0:
            return None
        reference = state.reference.float()
        fresh = state.left < 0
        left, right = state.left.clamp(min=0), state.right.clamp(min=0)
        held = torch.lerp(reference[left], reference[right], state.alpha[..., None])
        errors = (features - held / scale).square().sum(-1)
        moved = (features - state.patches.float() / scale).square().sum(-1)
        errors = errors.masked_fill(moved < STILL, 0.0)
        if entering:
            times, positions = features.shape[1:3]
            stands_at = torch.div(state.row_slots, positions, rounding_mode="floor").float()
            held_at = torch.lerp(stands_at[left], stands_at[right], state.alpha)[:, -entering:]
            time = torch.arange(times - entering, times, device=held_at.device)[:, None]
            errors[:, -entering:] += self.config.drift_weight * (time - held_at).square()
        passed = torch.lerp(state.change[left], state.change[right], state.alpha) + moved.mean((1, 2), keepdim=True)
        errors = errors + self.config.window_weight * passed
        age = torch.maximum(state.age[left], torch.where(state.alpha > 0, state.age[right], 0))
        too_old = age >= (NEVER if self.config.max_age is None else self.config.max_age)
        return errors.masked_fill(fresh | too_old, torch.inf)

    def change(self, patches: torch.Tensor, state: WindowState) -> torch.Tensor:
        """Mean over the slots of the squared change since the last window, relative to the norm; shape `(batch,)`."""
        moved = (patches.float() - state.patches.float()).square().sum(-1).mean((1, 2))
        return moved.detach() / self.scale(patches).square()

    def scale(self, patches: torch.Tensor) -> torch.Tensor:
        """Mean norm of the embeddings of a window, which errors are relative to; shape `(batch,)`."""
        return mean_norm(content_norms(patches).flatten(1))
