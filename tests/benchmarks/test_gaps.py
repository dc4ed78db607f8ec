"""How far reused embeddings are from the true ones."""

from __future__ import annotations

import pytest
import torch

from benchmarks.fidelity import STATIC
from benchmarks.gaps import GAPS, by_gap, embedding_error


def ramp(frames: int) -> torch.Tensor:
    """Two patches, of which one stays and the other moves by its norm in every frame."""
    still, direction = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 5.0])
    time = torch.arange(frames)[:, None, None]
    return torch.stack([still, direction])[None] + time * torch.stack([torch.zeros(2), direction])[None]


REUSED = torch.tensor([False, True, True, False, True])


def test_interpolation_follows_a_ramp_and_holds_the_end() -> None:
    # Two of three reused frames lie on the line; the last is held, a step from the corner.
    expected = (1.0 / (3 * 2)) ** 0.5
    assert embedding_error(ramp(5), REUSED, "interpolated") == pytest.approx(expected)


def test_held_tokens_lag_behind_a_ramp() -> None:
    # One, two and one steps behind, in one of two patches.
    expected = ((1 + 4 + 1) / (3 * 2)) ** 0.5
    assert embedding_error(ramp(5), REUSED, "held") == pytest.approx(expected)


def test_means_are_taken_over_the_videos_of_a_kind() -> None:
    videos = (*STATIC[:2], "another.mp4")
    rows = [
        {"key": [video, "held", str(gap)], "kl": gap * factor}
        for video, factor in zip(videos, (1.0, 3.0, 5.0))
        for gap in GAPS
    ]
    assert by_gap({"rows": rows}, "held", True, "kl") == [2.0 * gap for gap in GAPS]
    assert by_gap({"rows": rows}, "held", False, "kl") == [5.0 * gap for gap in GAPS]
