"""What became of every token of a call: what pictures are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput

from ..planning.plan import ReusePlan
from ..planning.window_plan import WindowPlan, with_prefix
from ..reduction.row_reduction import RowReduction


@dataclass
class TokenMaps(ModelOutput):
    """
    What became of every token of a call; `output.reuse.maps` of one with `output_token_maps=True`.

    Frames are those that a model looks at one by one; of a window they are tubelets, with no token in front.

    Attributes:
        computed (`torch.BoolTensor` of shape `(batch, frames, tokens)`): which tokens went through the layers with a
            row of their own.
        age (`torch.LongTensor` of shape `(batch, frames, tokens)`): frames between a token and the computed one that
            it is made of, the nearer one in share where it is made of two; 0 for a computed one.
        error (`torch.FloatTensor` of shape `(batch, frames, tokens)`): distance of its patch embedding to that of what
            it is made of, relative to the mean norm of the patch embeddings of its frame, or of its window; 0 for a
            computed one.
        groups (`torch.LongTensor` of shape `(batch, frames, tokens, layers + 1)`): for each layer, as it begins, and
            behind the last, which tokens one row stands for: the number, counted through the frames of the call, of
            the first token of the group; -1 for a token that was left out.
    """

    computed: torch.Tensor | None = None
    age: torch.Tensor | None = None
    error: torch.Tensor | None = None
    groups: torch.Tensor | None = None

    def stream(self, number: int) -> TokenMaps:
        """The maps of one stream, without the first dimension."""
        return TokenMaps(**{name: tensor[number] for name, tensor in self.items()})

    def with_kept_frames(self, frames: int) -> TokenMaps:
        """The same with so many frames in front, of tokens that an earlier call computed and that are their own."""
        assert self.groups is not None
        maps = {
            name: tensor.new_zeros(tensor.shape[0], frames, tensor.shape[2])
            for name, tensor in self.items()
            if name != "groups"
        }
        batch, _, tokens, layers = self.groups.shape
        own = torch.arange(frames * tokens, device=self.groups.device).view(1, frames, tokens, 1)
        kept = TokenMaps(**maps, groups=own.expand(batch, -1, -1, layers))
        return TokenMaps.join([kept, self])

    @classmethod
    def join(cls, maps: Sequence[TokenMaps]) -> TokenMaps:
        """The maps of several calls on the same streams, one after another, as of one."""
        parts, start = [], 0
        for part in maps:
            assert part.groups is not None
            groups = torch.where(part.groups < 0, part.groups, part.groups + start)
            parts.append({**part, "groups": groups})
            start += groups.shape[1] * groups.shape[2]
        return cls(**{name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]})

    def spread_in_time(self, kept: torch.Tensor, nearest: torch.Tensor) -> TokenMaps:
        """
        The same of all frames, where it is of some: a frame that was left out is made of the nearest one.

        Args:
            kept (`torch.LongTensor` of shape `(kept,)`): the frames that the maps are of.
            nearest (`torch.LongTensor` of shape `(frames,)`): for each of all frames the place of the nearest.
        """
        assert self.computed is not None and self.age is not None and self.groups is not None
        frames, tokens = len(nearest), self.groups.shape[2]
        all_frames = torch.arange(frames, device=kept.device)
        is_kept = (kept[nearest] == all_frames)[:, None]
        # Ages were counted in frames that are kept, which lie this far apart.
        step = (frames - 1) / max(len(kept) - 1, 1)
        age = (self.age * step).round().long()[:, nearest] + (kept[nearest] - all_frames).abs()[:, None]
        # Groups have the numbers of tokens, of which each frame has its own.
        groups = torch.where(self.groups < 0, 0, self.groups)
        groups = kept[groups // tokens] * tokens + groups % tokens
        maps = {
            "computed": self.computed[:, nearest] & is_kept,
            "age": age,
            "groups": torch.where(self.groups < 0, self.groups, groups)[:, nearest],
        }
        return TokenMaps(error=None if self.error is None else self.error[:, nearest], **maps)


class TokenMapper:
    """
    Follows the plans of a call, one after another.

    Args:
        layers (`int`): of the model.
    """

    def __init__(self, layers: int) -> None:
        self.layers = layers
        self._frames = 0
        self._parts: list[TokenMaps] = []
        self._held_groups: torch.Tensor | None = None

    def add(
        self,
        plan: ReusePlan | WindowPlan,
        tokens: torch.Tensor,
        norms: torch.Tensor,
        reduction: RowReduction | None,
        past_embeddings: torch.Tensor | None = None,
        past_age: torch.Tensor | None = None,
    ) -> None:
        """
        Adds a plan that was carried out.

        Args:
            plan: the plan.
            tokens (`torch.Tensor` of shape `(batch, frames, tokens, dim)`): embeddings of its frames.
            norms (`torch.FloatTensor` of shape `(batch, frames)` or `(batch, 1)`): what errors are relative to.
            reduction: what became of the computed rows.
            past_embeddings (`torch.Tensor` of shape `(past, dim)`, *optional*), past_age (`torch.LongTensor` of shape
                `(past,)`, *optional*): of the rows that the plan's table begins with, where it has a past.
        """
        _, frames, count = plan.shape
        # Tokens in front of a window are in no map, and no token is made of them.
        front = plan.prefix if isinstance(plan, WindowPlan) else 0
        numbers = plan.rows % (front + frames * count) - front
        held = tokens.new_zeros(0, self.layers + 1, dtype=torch.long)
        rows = with_prefix(tokens.detach().flatten(1, 2), front, 0).flatten(0, 1)[plan.rows]
        row_time = numbers // count
        if past_embeddings is not None and past_age is not None:
            rows, row_time = torch.cat([past_embeddings.to(rows), rows]), torch.cat([-past_age, row_time])
            # What was computed before the call has numbers below those of its tokens, and below -1.
            past = torch.arange(-len(past_age) - 1, -1, device=tokens.device)[:, None].expand(-1, self.layers + 1)
            held = past if self._held_groups is None else self._held_groups
        time = torch.arange(frames, device=tokens.device)[:, None]
        nearest = torch.where(plan.alpha > 0.5, plan.right, plan.left)
        made = torch.lerp(rows[plan.left], rows[plan.right], plan.alpha[..., None].to(rows.dtype))
        error = (tokens.detach() - made).float().norm(dim=-1) / norms[..., None]
        groups = torch.cat([held, self._groups_of_rows(numbers + self._frames * count, reduction)])
        self._parts.append(
            TokenMaps(
                computed=plan.computed,
                age=(time - row_time[nearest]).abs(),
                error=error.masked_fill(plan.computed, 0),
                groups=groups[nearest],
            )
        )
        self._frames += frames
        self._held_groups = groups[plan.left[:, -1].flatten()]

    def maps(self) -> TokenMaps:
        """The maps of all plans together."""
        first = self._parts[0]
        joined = TokenMaps(**{name: torch.cat([part[name] for part in self._parts], dim=1) for name in first})
        assert joined.groups is not None
        joined.groups = by_first_token(joined.groups)
        return joined

    def _groups_of_rows(self, numbers: torch.Tensor, reduction: RowReduction | None) -> torch.Tensor:
        """Number of the first token that shares its row, by layer; -1 if left out; shape `(rows, layers + 1)`."""
        groups = [numbers]
        for place in [] if reduction is None else reduction.places:
            if place is not None:
                first = numbers.new_full((len(numbers) + 1,), torch.iinfo(torch.long).max)
                # Rows that were left out come last, where -1 points to.
                first = first.scatter_reduce(0, place % len(first), numbers, "amin")
                groups.append(torch.where(place < 0, -1, first[place]))
            else:
                groups.append(numbers)
        groups += [groups[-1]] * (self.layers + 1 - len(groups))
        return torch.stack(groups, dim=1)


def by_first_token(groups: torch.Tensor) -> torch.Tensor:
    """
    Numbers groups by the first token in them.

    Args:
        groups (`torch.LongTensor` of shape `(batch, frames, tokens, layers)`): any number for each group of a stream;
            -1 for none.

    Returns:
        `torch.LongTensor` of the same shape: the place of the group's first token in the frames of the stream, and -1.
    """
    flat = groups.flatten(1, 2)
    offset = -int(flat.min())
    places = torch.arange(flat.shape[1], device=flat.device)[:, None].expand_as(flat)
    first = torch.full_like(flat[:, :1], flat.shape[1]).expand(-1, int(flat.max()) + offset + 1, -1)
    first = first.scatter_reduce(1, flat + offset, places, "amin").gather(1, flat + offset)
    return torch.where(flat == -1, -1, first).view_as(groups)
