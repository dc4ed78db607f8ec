"""What a stream is made of between two calls of the model: frames that wait, and answers that wait for others."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch

from ..checks import is_number
from .result import is_count


LATEST = 250_000_000_000
"""Seconds since 1970 that no date is found for; it is about the year 9900."""


@dataclass(frozen=True)
class Seen:
    """
    A frame that the model is to see.

    Attributes:
        index: of the frame in its source.
        time: its timestamp, in seconds.
        arrival: when it arrived, by the monotonic clock.
        arrived_at: the same, in seconds since 1970.
        preparing: seconds that it took to make of it what the model gets.
        is_live: whether it came in its own time.
    """

    index: int
    time: float
    arrival: float
    arrived_at: float = 0.0
    preparing: float = 0.0
    is_live: bool = True


@dataclass
class Call:
    """
    A part in a call of the model.

    Attributes:
        pixel_values (`torch.Tensor` of shape `(frames, channels, height, width)`): what the model gets.
        new (`list[Seen]`): the frames that the model did not see before.
        stride (`int`, *optional*): by how many frames a window is ahead of the one before.
        first (`Seen`, *optional*): the first frame of a window; else it is that of `new`.
        end (`int`): of a window, the frames of the stream up to its end.
    """

    pixel_values: torch.Tensor
    new: list[Seen]
    stride: int | None = None
    first: Seen | None = None
    end: int = 0


@dataclass
class Window:
    """
    Frames that get a result.

    Attributes:
        logits (`torch.Tensor` of shape `(labels,)`): of the window.
        first, last: its ends.
    """

    logits: torch.Tensor
    first: Seen
    last: Seen


class Track:
    """
    Cuts one stream into calls of the model, and its answers into windows.

    Args:
        window (`int`): frames of a window.
        stride (`int`): frames from the start of a window to that of the next.
    """

    def __init__(self, window: int, stride: int) -> None:
        self.window, self.stride = window, stride
        self.frames = 0

    def add(self, seen: Seen, pixels: torch.Tensor) -> None:
        """Takes the next frame; `pixels` is `(channels, height, width)`."""
        raise NotImplementedError

    def wanted(self) -> int:
        """How many frames are missing for the next call; 0 if it can be made."""
        raise NotImplementedError

    def next_call(self, ended: bool) -> Call | None:
        """The next call, if there are the frames for it; those of a stream that has ended wait for no more."""
        raise NotImplementedError

    def absorb(self, call: Call, logits: torch.Tensor) -> list[Window]:
        """
        The windows that are complete after a call.

        Args:
            call: what was called.
            logits (`torch.Tensor` of shape `(frames, labels)`, of the frames, or `(1, labels)`, of a window): of it.
        """
        raise NotImplementedError

    def finish(self) -> list[Window]:
        """After the last call of a stream that has ended: the window of the frames that are in none yet."""
        return []

    def _left_over(self) -> int:
        """Frames that are in no window yet."""
        return self.frames if self.frames < self.window else (self.frames - self.window) % self.stride

    def _is_full(self) -> bool:
        """Whether a window ends with the last frame."""
        return self.frames >= self.window and (self.frames - self.window) % self.stride == 0

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Tensors and notes to go on from; frames that wait for a call are not among them."""
        raise NotImplementedError

    def restore(self, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
        """
        Goes on from a state.

        Raises:
            ValueError: if it is none of such a track.
        """
        raise NotImplementedError

    def _restored(
        self, states: torch.Tensor | None, notes: dict[str, Any], counts: tuple[str, ...]
    ) -> list[tuple[Seen, torch.Tensor]]:
        """What belongs to the last frames of a window, after a look at notes and tensors."""
        if not isinstance(notes, dict) or not all(is_count(notes.get(name)) for name in counts):
            raise ValueError("the state of its windows is none")
        seen = notes.get("seen")
        if not isinstance(seen, list) or len(seen) != min(notes["frames"], self.window):
            raise ValueError("the frames of its last window are not as many as it has")
        for one in seen:
            is_whole_of_it = isinstance(one, list) and len(one) == 3 and is_count(one[0]) and is_number(one[1])
            if not (is_whole_of_it and is_number(one[2]) and 0 <= one[2] < LATEST):
                raise ValueError("the frames of its last window have no index, time and arrival")
        if len(seen) != (0 if states is None else len(states)):
            raise ValueError("its tensors are not those of its last window")
        if states is not None and not (states.is_floating_point() and bool(states.isfinite().all())):
            raise ValueError("its tensors hold what is no finite number")
        # The clock of the process that saw them is not that of this one.
        now = monotonic()
        return [
            (Seen(index, time, now, arrived_at), state)
            for (index, time, arrived_at), state in zip(seen, () if states is None else states)
        ]


class FrameTrack(Track):
    """
    A stream for a model that looks at frames; a window's logits are the mean of its frames'.

    Args:
        lookahead (`int`): frames that a frame waits for, to be planned together with them.
        (others): as in `Track`.
    """

    def __init__(self, window: int, stride: int, lookahead: int = 0) -> None:
        super().__init__(window, stride)
        self.lookahead = lookahead
        self._waiting: deque[tuple[Seen, torch.Tensor]] = deque()
        self._answers: deque[tuple[Seen, torch.Tensor]] = deque(maxlen=window)
        # Frames up to the end of the last window: what is left over has one more, once.
        self._covered = 0

    def add(self, seen: Seen, pixels: torch.Tensor) -> None:
        """See `Track.add`."""
        self._waiting.append((seen, pixels))

    def wanted(self) -> int:
        """See `Track.wanted`."""
        return max(0, self.lookahead + 1 - len(self._waiting))

    def next_call(self, ended: bool) -> Call | None:
        """See `Track.next_call`."""
        if not self._waiting or (self.wanted() and not ended):
            return None
        frames = [self._waiting.popleft() for _ in range(min(len(self._waiting), self.lookahead + 1))]
        return Call(torch.stack([pixels for _, pixels in frames]), [seen for seen, _ in frames])

    def absorb(self, call: Call, logits: torch.Tensor) -> list[Window]:
        """See `Track.absorb`."""
        windows = []
        for seen, own in zip(call.new, logits):
            self._answers.append((seen, own))
            self.frames += 1
            if self._is_full():
                windows.append(self._last_window())
        return windows

    def finish(self) -> list[Window]:
        """See `Track.finish`."""
        return [self._last_window()] if self._left_over() and self._covered < self.frames else []

    def _last_window(self) -> Window:
        self._covered = self.frames
        logits = torch.stack([logits for _, logits in self._answers]).mean(0)
        return Window(logits, self._answers[0][0], self._answers[-1][0])

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """See `Track.state`."""
        tensors = {}
        if self._answers:
            tensors["answers"] = torch.stack([logits for _, logits in self._answers])
        seen = [[seen.index, seen.time, seen.arrived_at] for seen, _ in self._answers]
        return tensors, {"frames": self.frames, "covered": self._covered, "seen": seen}

    def restore(self, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
        """See `Track.restore`."""
        self._answers.extend(self._restored(tensors.get("answers"), notes, ("frames", "covered")))
        self.frames, self._covered = notes["frames"], notes["covered"]


class WindowTrack(Track):
    """A stream for a model that looks at windows. The last frames are kept, for windows that overlap."""

    def __init__(self, window: int, stride: int) -> None:
        super().__init__(window, stride)
        self._frames: deque[tuple[Seen, torch.Tensor]] = deque(maxlen=window)
        self._calls: deque[Call] = deque()
        # Frames up to the end of the last window that was cut, and of the last one that was answered.
        self._called = self._answered = 0

    def add(self, seen: Seen, pixels: torch.Tensor) -> None:
        """See `Track.add`."""
        self._frames.append((seen, pixels))
        self.frames += 1
        if self._is_full():
            self._calls.append(self._last_call())

    def _last_call(self) -> Call:
        ahead = self.frames - self._called
        seen = [seen for seen, _ in self._frames]
        # What follows a window that was filled up with copies of its last frame overlaps with none of it.
        stride = ahead if self._called >= self.window else None
        pixels = torch.stack([pixels for _, pixels in self._frames])
        self._called = self.frames
        return Call(pixels, seen[-ahead:], stride, first=seen[0], end=self.frames)

    def wanted(self) -> int:
        """See `Track.wanted`."""
        if self._calls:
            return 0
        return self.window - self.frames if self.frames < self.window else self.stride - self._left_over()

    def next_call(self, ended: bool) -> Call | None:
        """See `Track.next_call`."""
        if ended and not self._calls and self._left_over() and self._called < self.frames:
            # Fewer frames than a window only where the stream was shorter; the model holds the last one.
            self._calls.append(self._last_call())
        return self._calls.popleft() if self._calls else None

    def absorb(self, call: Call, logits: torch.Tensor) -> list[Window]:
        """See `Track.absorb`."""
        assert call.first is not None
        self._answered = call.end
        return [Window(logits[0], call.first, call.new[-1])]

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """See `Track.state`."""
        tensors = {}
        if self._frames:
            tensors["frames"] = torch.stack([pixels for _, pixels in self._frames])
        seen = [[seen.index, seen.time, seen.arrived_at] for seen, _ in self._frames]
        return tensors, {"frames": self.frames, "answered": self._answered, "seen": seen}

    def restore(self, tensors: dict[str, torch.Tensor], notes: dict[str, Any]) -> None:
        """See `Track.restore`."""
        self._frames.extend(self._restored(tensors.get("frames"), notes, ("frames", "answered")))
        if notes["answered"] > notes["frames"]:
            raise ValueError("it has more answers than frames")
        self.frames, self._called, self._answered = notes["frames"], notes["answered"], notes["answered"]
        if self._is_full() and self._called < self.frames:
            # Its call broke off.
            self._calls.append(self._last_call())
