from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from hf_ttr.evaluation import Protocol
from hf_ttr.video.processing import TemporalReuseVideoProcessor


def frames(count: int, height: int = 24, width: int = 24) -> np.ndarray:
    """Frames of one colour each, their number; the columns (or rows) of the longer side go up by one."""
    ramp = np.arange(max(height, width), dtype=np.uint8)
    ramp = np.broadcast_to(ramp if width >= height else ramp[:, None], (height, width))
    numbers = (np.full((height, width), number, np.uint8) for number in range(count))
    return np.stack([np.stack([number, ramp, ramp], -1) for number in numbers])


def processor(**settings: Any) -> TemporalReuseVideoProcessor:
    return TemporalReuseVideoProcessor(
        size={"height": 24, "width": 24}, do_rescale=False, do_normalize=False, **settings
    )


@pytest.mark.parametrize(
    "protocol, total, expected",
    [
        (Protocol(num_frames=3, frame_sampling_rate="spread"), 5, [[0, 2, 4]]),
        (Protocol(num_frames=3, frame_sampling_rate="spread"), 1, [[0, 0, 0]]),
        (Protocol(num_clips=2, num_frames=3, frame_sampling_rate="spread"), 11, [[0, 4, 8], [2, 6, 10]]),
        (Protocol(num_frames=3, frame_sampling_rate=2), 9, [[0, 2, 4]]),
        (Protocol(num_frames=3, frame_sampling_rate=2), 3, [[0, 2, 2]]),
        (Protocol(num_clips=3, num_frames=2, frame_sampling_rate=1), 10, [[0, 1], [4, 5], [8, 9]]),
        (Protocol(num_clips=2, num_frames=2, frame_sampling_rate=4), 3, [[0, 2], [0, 2]]),
    ],
    ids=["whole", "one-frame", "interleaved", "first", "short", "spread", "shorter"],
)
def test_frames_of_clips(protocol: Protocol, total: int, expected: list[list[int]]) -> None:
    assert protocol.frames_of(total) == expected


def test_pixels_of_clips() -> None:
    protocol = Protocol(num_clips=2, num_frames=3, frame_sampling_rate="spread")
    pixels = protocol.pixel_values(processor(), frames(11))
    assert pixels.shape == (2, 3, 3, 24, 24)
    assert pixels[:, :, 0, 0, 0].tolist() == [[0, 4, 8], [2, 6, 10]]
    whole = processor()(frames(11), num_frames=6, frame_sampling_rate="spread", return_tensors="pt").pixel_values[0]
    assert torch.equal(pixels[0], whole[::2]) and torch.equal(pixels[1], whole[1::2])


@pytest.mark.parametrize("size", [(24, 48), (48, 24)], ids=["wide", "tall"])
def test_three_squares_along_the_longer_side(size: tuple[int, int]) -> None:
    pixels = Protocol(views=3, num_frames=2).pixel_values(processor(), frames(2, *size))
    assert pixels.shape == (3, 2, 3, 24, 24)
    longer = pixels[:, 0, 1, 0, :] if size[1] > size[0] else pixels[:, 0, 1, :, 0]
    assert longer.tolist() == [list(range(start, start + 24)) for start in (0, 12, 24)]


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"num_clips": 0}, "num_clips is 0, but must be a whole number of at least 1."),
        ({"num_frames": 1.5}, "num_frames is 1.5, but"),
        ({"views": 2}, "views is 2, but must be 1, or 3 squares along the longer side."),
        ({"frame_sampling_rate": 0}, "`frame_sampling_rate` must be a positive integer, 'spread' or None, not 0."),
    ],
    ids=["clips", "frames", "views", "rate"],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Protocol(**settings)
