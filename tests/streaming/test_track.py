"""Frames go in with their number as pixels; every window has to be that of a plain loop over all frames."""

from __future__ import annotations

import pytest
import torch

from hf_ttr.streaming.track import FrameTrack, Seen, Track, WindowTrack


def pixels(number: int) -> torch.Tensor:
    return torch.full((1, 1, 1), float(number))


def expected_windows(frames: int, window: int, stride: int) -> list[tuple[int, int]]:
    """First and last frame of each window; what is left in the end is in one that ends with the last frame."""
    ends = [end for end in range(window, frames + 1) if (end - window) % stride == 0]
    windows = [(end - window, end - 1) for end in ends]
    if frames and (not ends or ends[-1] < frames):
        windows.append((max(0, frames - window), frames - 1))
    return windows


def run(track: Track, frames: int, first: int = 0) -> list[tuple[int, int, float]]:
    """Feeds frames whose answer is their number; returns ends and logits of the windows."""
    windows = []
    for number in range(first, frames + 1):
        ended = number == frames
        if not ended:
            track.add(Seen(number, number / 10, 0.0), pixels(number))
        while (call := track.next_call(ended)) is not None:
            logits = call.pixel_values.flatten(1) if isinstance(track, FrameTrack) else call.pixel_values[-1:, 0, 0]
            windows += track.absorb(call, logits)
    windows += track.finish()
    return [(window.first.index, window.last.index, window.logits.item()) for window in windows]


SIZES = [(1, 1), (2, 1), (3, 3), (4, 2), (3, 5), (5, 4)]


@pytest.mark.parametrize("lookahead", [0, 1, 4])
@pytest.mark.parametrize("window, stride", SIZES)
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 8, 11])
def test_windows_of_frames(frames: int, window: int, stride: int, lookahead: int) -> None:
    expected = expected_windows(frames, window, stride)
    means = [sum(range(first, last + 1)) / (last + 1 - first) for first, last in expected]
    got = run(FrameTrack(window, stride, lookahead), frames)
    assert [(first, last) for first, last, _ in got] == expected
    assert [logits for _, _, logits in got] == pytest.approx(means)


@pytest.mark.parametrize("window, stride", SIZES)
@pytest.mark.parametrize("frames", [0, 1, 2, 3, 8, 11])
def test_windows_seen_at_once(frames: int, window: int, stride: int) -> None:
    expected = expected_windows(frames, window, stride)
    assert run(WindowTrack(window, stride), frames) == [(first, last, last) for first, last in expected]


@pytest.mark.parametrize("window, stride", SIZES)
def test_stride_and_new_frames_of_calls(window: int, stride: int) -> None:
    track, ends = WindowTrack(window, stride), []
    for number in range(14):
        track.add(Seen(number, 0.0, 0.0), pixels(number))
        while (call := track.next_call(number == 13)) is not None:
            assert call.pixel_values.flatten().tolist() == list(range(number + 1 - window, number + 1))
            assert call.stride == (number - ends[-1] if ends else None)
            since = number - ends[-1] if ends else window
            assert [seen.index for seen in call.new] == list(range(number + 1 - min(since, window), number + 1))
            ends.append(number)
    assert ends[-1] == 13


def test_wanted_is_what_is_missing() -> None:
    frames, windows = FrameTrack(4, 4, lookahead=2), WindowTrack(4, 3)
    wanted = []
    for number in range(8):
        own = []
        for track in (frames, windows):
            own.append(track.wanted())
            track.add(Seen(number, 0.0, 0.0), pixels(number))
            if (call := track.next_call(False)) is not None:
                assert own[-1] == 1
                track.absorb(call, torch.zeros(len(call.new), 1))
        wanted.append(tuple(own))
    assert wanted == [(3, 4), (2, 3), (1, 2), (3, 1), (2, 3), (1, 2), (3, 1), (2, 3)]


@pytest.mark.parametrize("kind", ["frames", "windows"])
@pytest.mark.parametrize("cut", range(1, 11))
def test_state_goes_on(kind: str, cut: int) -> None:
    def new() -> Track:
        return FrameTrack(4, 3) if kind == "frames" else WindowTrack(4, 3)

    whole, first, second = new(), new(), new()
    expected = run(whole, 11)
    windows = []
    for number in range(cut):
        first.add(Seen(number, number / 10, 0.0), pixels(number))
        while (call := first.next_call(False)) is not None:
            logits = call.pixel_values.flatten(1) if kind == "frames" else call.pixel_values[-1:, 0, 0]
            windows += first.absorb(call, logits)
    tensors, notes = first.state()
    second.restore(tensors, notes)
    got = [(window.first.index, window.last.index, window.logits.item()) for window in windows]
    assert got + run(second, 11, first=cut) == expected
