"""What the planner remembers of the streams between calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch


@dataclass
class StreamState:
    """
    What the planner remembers of the streams between calls.

    Attributes:
        reference (`torch.Tensor` of shape `(batch, patches, dim)`): patch embeddings at their last computation.
        age (`torch.LongTensor` of shape `(batch, tokens)`): frames since then, 1 = the last frame, `NEVER` = none.
        saliency (`torch.Tensor` of shape `(batch, patches)`): attention of the CLS token in the last whole frame,
            NaN where none was seen.
        debt (`torch.Tensor` of shape `(batch, patches)`, *optional*): sum of the squared errors of each patch since it
            was last computed, weighted and relative to the norm; mode "causal" keeps count. Left out, it is 0.
    """

    reference: torch.Tensor
    age: torch.Tensor
    saliency: torch.Tensor
    debt: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.debt is None:
            self.debt = torch.zeros_like(self.saliency)

    @property
    def batch_size(self) -> int:
        """Number of streams."""
        return self.age.shape[0]

    def tensors(self) -> list[torch.Tensor]:
        """All tensors held."""
        return [getattr(self, field.name) for field in fields(self)]

    def token_rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Reference and age of every token, `(batch * tokens, dim)` and `(batch * tokens,)`; prefix tokens have 0."""
        prefix = self.age.shape[1] - self.reference.shape[1]
        return torch.nn.functional.pad(self.reference, (0, 0, prefix, 0)).flatten(0, 1), self.age.flatten()

    @staticmethod
    def join(states: Sequence[StreamState]) -> StreamState:
        """The streams of several states, in their order, on the device of the first."""
        device = states[0].age.device
        return StreamState(*(torch.cat(parts) for parts in zip(*(state.to(device).tensors() for state in states))))

    def select(self, streams: torch.Tensor) -> StreamState:
        """The state of the given streams, in the given order."""
        return StreamState(*(tensor.index_select(0, streams.to(tensor.device)) for tensor in self.tensors()))

    def to(self, device: torch.device | str) -> StreamState:
        """The same state on another device."""
        return StreamState(*(tensor.to(device) for tensor in self.tensors()))
