"""Videos through one model: decoded ahead, several in a call, long ones in pieces; one row for each."""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..checks import first_line
from ..display import shown
from ..machine import give_back_memory
from ..streaming.caches import StreamCaches
from .answers import Task
from .cut import Clips, WholeVideo
from .decoding import DecodingFault, GuardedDecoder, OpenVideo
from .row import VideoRow


OFF = {"mode": "off", "reduction": []}
"""The dense model."""

TRIED_AGAIN = ("killed", "hung", "memory")
"""Faults that another video, or the machine, may have been the cause of."""


@dataclass
class Lane:
    """A video on its way through the model; once it began, with the names of its streams, one for each view."""

    number: int
    path: str
    source: Any
    video: OpenVideo
    found: Any
    dense: Any
    row: VideoRow
    names: tuple[str, ...] = ()


@dataclass
class VideoWorker:
    """
    Makes rows of videos.

    Args:
        task: what is made of the answers of its model, which is in evaluation mode, and on its device.
        cut: which frames it sees, in which pieces. Pieces of a `WholeVideo` go on with the cache of those before;
            clips are by themselves.
        decoder: decodes videos.
        pack (`int`): videos in one call.
        verify (`float`): share of the videos that the dense model sees as well, from 0 to 1; which ones is decided by
            their paths.
    """

    task: Task
    cut: WholeVideo | Clips
    decoder: GuardedDecoder
    pack: int = 1
    verify: float = 0.0
    _caches: StreamCaches = field(default_factory=StreamCaches)

    def rows(self, videos: Iterable[tuple[str, Any]]) -> list[VideoRow]:
        """
        One row for each video, in their order, whatever becomes of them.

        Args:
            videos: path and source (a path, an address, or the bytes of a file) of each.
        """
        rows: list[VideoRow | None] = []
        waiting: deque[tuple[int, str, Any]] = deque()
        for number, (path, source) in enumerate(videos):
            rows.append(None)
            waiting.append((number, path, source))
        again: list[Lane] = []
        opened: deque[Lane] = deque()
        lanes: list[Lane] = []
        left: list[Lane] = []
        try:
            # The model begins with one while others are decoded: it would wait for as many as it can take.
            room = 1
            while waiting or opened or lanes:
                # Behind those that are in the model, as many have their first piece decoded meanwhile.
                while waiting and len(opened) + len(lanes) < room + self.pack:
                    number, path, source = waiting.popleft()
                    opened.append(self._lane(number, path, source, self.decoder.open(source)))
                while opened and len(lanes) < room:
                    lanes.append(opened.popleft())
                room = min(room + 1, self.pack)
                lanes, failed = self._advance(lanes, rows)
                again += failed
            for lane in again:
                alone = self._lane(lane.number, lane.path, lane.source, self.decoder.retry(lane.source))
                left = [alone]
                while left:
                    left, failed = self._advance(left, rows, is_last=True)
        except BaseException:
            # Nobody goes on with these; the next videos have the same numbers, and begin anew.
            for lane in (*opened, *lanes, *left):
                lane.video.close()
            self._caches = StreamCaches()
            raise
        give_back_memory()
        return [row for row in rows if row is not None]

    def _lane(self, number: int, path: str, source: Any, video: OpenVideo) -> Lane:
        dense = self.task.collect() if is_chosen(path, self.verify) else None
        lane = Lane(number, path, source, video, self.task.collect(), dense, self.task.row(path))
        video.prefetch()
        return lane

    def _advance(
        self, lanes: list[Lane], rows: list[VideoRow | None], is_last: bool = False
    ) -> tuple[list[Lane], list[Lane]]:
        """
        Takes the next piece of each video through the model; ends those that have none.

        Returns:
            The videos that go on, and those that are to be tried again by themselves.
        """
        pieces: list[tuple[Lane, torch.Tensor]] = []
        left: list[Lane] = []
        again: list[Lane] = []

        def failed(lane: Lane, kind: str, error: str, can_be_of_others: bool) -> None:
            lane.video.close()
            self._forget(lane)
            if can_be_of_others and not is_last:
                again.append(lane)
            else:
                rows[lane.number] = self.task.row(lane.path, error=error, error_kind=kind)

        for lane in lanes:
            began = time.perf_counter()
            try:
                piece = lane.video.next()
            except DecodingFault as fault:
                failed(lane, fault.kind, str(fault), fault.kind in TRIED_AGAIN)
                continue
            waited = lane.row.waiting_seconds + time.perf_counter() - began
            lane.row = replace(lane.row, waiting_seconds=waited)
            if piece is None:
                try:
                    rows[lane.number] = self._finish(lane)
                except ValueError as error:
                    failed(lane, "model", str(error), False)
                continue
            lane.video.prefetch()
            pieces.append((lane, piece.pixel_values))
        for group in self._groups(pieces):
            try:
                self._run(group)
            except Exception as error:
                for lane, _ in group:
                    text = f"The model fails on '{shown(lane.path)}' ({shown(first_line(error))}); check the two."
                    failed(lane, "model", text, True)
            else:
                left += [lane for lane, _ in group]
        return sorted(left, key=lambda lane: lane.number), again

    def _groups(self, pieces: list[tuple[Lane, torch.Tensor]]) -> list[list[tuple[Lane, torch.Tensor]]]:
        """What can go through the model in one call."""
        groups: dict[Any, list[tuple[Lane, torch.Tensor]]] = defaultdict(list)
        for lane, pixels in pieces:
            groups[pixels.shape, bool(lane.names)].append((lane, pixels))
        return list(groups.values())

    @torch.inference_mode()
    def _run(self, group: list[tuple[Lane, torch.Tensor]]) -> None:
        """One call of the model, and one of the dense model for those that are to be checked."""
        window = self.task.model.config.window_frames
        frames = [pixels.shape[1] for _, pixels in group]
        pixels = torch.cat([_filled_up(pixels, window) for _, pixels in group]).to(self.task.model.device)
        views = len(pixels) // len(group)
        for lane, _ in group:
            lane.names = tuple(f"{lane.number} {view}" for view in range(views))
        names = [name for lane, _ in group for name in lane.names]
        options: dict[str, Any] = {}
        goes_on = isinstance(self.cut, WholeVideo)
        if goes_on and all(name in self._caches for name in names):
            options["past_key_values"] = self._caches.take(names)
            if window is not None:
                options["stride"] = window
        began = time.perf_counter()
        out = self.task.model(pixels, **options)
        answers = self.task.answers(out).float().cpu()
        seconds = (time.perf_counter() - began) / len(group)
        if goes_on and getattr(out, "past_key_values", None) is not None:
            self._caches.put(names, out.past_key_values)
        for place, ((lane, _), count) in enumerate(zip(group, frames)):
            own = slice(place * views, (place + 1) * views)
            lane.found.add(answers[own].flatten(0, 1))
            costs: dict[str, Any] = {"seconds": lane.row.seconds + seconds, "frames": lane.row.frames + count}
            if out.reuse is not None:
                for name in ("computed_tokens", "total_tokens", "multiply_adds", "dense_multiply_adds"):
                    costs[name] = getattr(lane.row, name) + int(out.reuse[name][own].sum())
            lane.row = replace(lane.row, **costs)
        self._check(group, pixels, views)

    def _check(self, group: list[tuple[Lane, torch.Tensor]], pixels: torch.Tensor, views: int) -> None:
        for place, (lane, _) in enumerate(group):
            if lane.dense is None:
                continue
            began = time.perf_counter()
            out = self.task.model(pixels[place * views : (place + 1) * views], temporal_reuse=OFF)
            lane.dense.add(self.task.answers(out).float().cpu().flatten(0, 1))
            spent = (lane.row.dense_seconds or 0.0) + time.perf_counter() - began
            lane.row = replace(lane.row, dense_seconds=spent)

    def _finish(self, lane: Lane) -> VideoRow:
        """
        The row of a video that is at its end.

        Raises:
            ValueError: if there are no numbers in it; one sentence.
        """
        fields = self.task.fields(lane.found)
        if not _are_numbers(fields):
            raise ValueError(
                f"The model gives what is no number (NaN or infinite) for '{shown(lane.path)}'; check its weights."
            )
        if lane.dense is not None:
            fields |= self.task.check(lane.found, lane.dense)
            if not math.isfinite(fields["divergence"]):
                fields |= {"divergence": None, "same_answer": None}
        info = lane.video.facts
        duration = None if info is None else info.duration
        if duration is None and info is not None and info.fps:
            duration = info.frames / info.fps
        self._forget(lane)
        lane.video.close()
        return replace(lane.row, duration=duration, decoding_seconds=lane.video.decoding_seconds, **fields)

    def _forget(self, lane: Lane) -> None:
        self._caches.drop(lane.names)


def is_chosen(path: str, share: float) -> bool:
    """Whether a video is among those that are checked: the same ones in every run, about `share` of all."""
    number = int.from_bytes(hashlib.sha256(path.encode("utf-8", "backslashreplace")).digest()[:8], "big")
    return number < share * 2**64


def _filled_up(pixels: torch.Tensor, window: int | None) -> torch.Tensor:
    """Pixels `(views, frames, ...)` with as many frames as a window has: its last one is held."""
    missing = 0 if window is None else window - pixels.shape[1]
    return pixels if missing <= 0 else torch.cat([pixels, pixels[:, -1:].expand(-1, missing, -1, -1, -1)], 1)


def _are_numbers(fields: dict[str, Any]) -> bool:
    values = fields.get("scores", fields.get("embedding"))
    return bool(torch.tensor(values).isfinite().all())
