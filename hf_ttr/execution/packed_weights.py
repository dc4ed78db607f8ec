"""Weights in the order that oneDNN's product of few rows wants them: packed once, instead of in each call."""

from __future__ import annotations

import weakref
from typing import Any

import torch


USUAL_ROWS = 63
"""Rows that oneDNN is told to expect when it packs: those of a frame of a stream, which gain most."""


class PackedWeights:
    """
    Packed copies of weights, each as large as the weight itself.

    They are for weights that do not change any more, which nobody knows but their owner: torch does not count what is
    written through `.data` or numpy, and comparing all weights in every call takes longer than the copies save. A
    weight is packed when it is first asked for, and again when it was moved, or changed in a way that is noticed. A
    copy of this object (of a model that holds it) starts empty.
    """

    def __init__(self) -> None:
        self._digest: str | None = None
        self._packed: dict[int, tuple[weakref.ref[torch.Tensor], tuple[int, int], torch.Tensor]] = {}

    def of(self, weight: torch.Tensor) -> torch.Tensor | None:
        """
        The packed form of a weight.

        Args:
            weight (`torch.FloatTensor` of shape `(outputs, inputs)`): on the CPU.

        Returns:
            An opaque tensor for `torch.ops.mkldnn._linear_pointwise`; `None` for weights whose changes torch does not
            count (made in inference mode).
        """
        if weight.is_inference():
            return None
        key, state = id(weight), (weight.data_ptr(), weight._version)
        known = self._packed.get(key)
        if known is not None and known[0]() is weight and known[1] == state:
            return known[2]
        packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), USUAL_ROWS)
        forget = self._packed.pop
        self._packed[key] = (weakref.ref(weight, lambda _: forget(key, None)), state, packed)
        return packed

    def belong_to(self, digest: str) -> None:
        """
        Forgets all copies if they are of other weights.

        Args:
            digest (`str`): of the model as it is now (`hf_ttr.caching.fingerprint`).
        """
        if self._digest not in (None, digest):
            self._packed = {}
        self._digest = digest

    def __len__(self) -> int:
        return len(self._packed)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
