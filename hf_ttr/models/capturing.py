"""What steps of fixed shapes share: one caller at a time, and the usual way where something cannot be captured."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, TypeVar

import torch

from ..execution.graphs import Graphs


logger = logging.getLogger(__name__)

Steps = TypeVar("Steps")
Result = TypeVar("Result")


class Captured:
    """
    The steps of a model, by what their shapes and settings are.

    Args:
        body: the part of the model that has the layers.
        graphs (`Graphs`): how work of fixed shapes is run again.

    Attributes:
        weights (`str`): the digest of the weights, which are not to change any more.
        reason (`str`): why steps are left to the usual way for good, once something could not be captured; else empty.
        subject (`str`): what is then said to go the usual way.
    """

    subject: ClassVar[str] = "Live streams go on"

    def __init__(self, body: Any, graphs: Graphs) -> None:
        self.body, self.graphs, self.reason = body, graphs, ""
        self.weights: str = body.weights_digest()
        # What a step needs of another cache may be what this thread has lent.
        self._lock = threading.RLock()
        self._steps: dict[Hashable, Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        # Graphs read the weights of one model: a copy has none until it is optimized itself.
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()

    @property
    def captured(self) -> int:
        """How many graphs there are."""
        return sum(1 + len(steps.runs) for steps in self._steps.values())

    def _attempt(
        self, key: Hashable, make: Callable[[], Steps], step: Callable[[Steps], Result | None]
    ) -> Result | None:
        """
        A step, with the steps that are known by a key, or are made now.

        Returns:
            What the step does; `None` where that is for the usual way, or could not be captured.
        """
        if self.reason:
            return None
        # One caller at a time: all write to the same places.
        with self._lock, torch.inference_mode(False), torch.no_grad():
            try:
                if key not in self._steps:
                    self._steps[key] = make()
                return step(self._steps[key])
            except (NotImplementedError, RuntimeError) as error:
                said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                self.reason = f"{self.subject} the usual way, as their steps could not be captured: {said}."
                logger.warning(self.reason)
                self._steps.clear()
                return None


__all__ = ["Captured"]
