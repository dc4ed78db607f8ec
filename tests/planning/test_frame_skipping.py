from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.frame_skipping import (
    between,
    choose_frames,
    errors_of_streams,
    evenly_spaced,
    inner_products,
    planning_cost,
    polyline_error,
    predicted_error,
    reuse_error,
)


GRID, SIDE, FRAMES = (6, 6), 24, 16


def texture(seed: int = 0, side: int = SIDE) -> torch.Tensor:
    return torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed))


def still(frames: int = FRAMES) -> torch.Tensor:
    return texture().expand(frames, -1, -1, -1).clone()


def one_patch_changes() -> torch.Tensor:
    video = still()
    video[:, :, 8:12, 8:12] = torch.rand(FRAMES, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return video


def everything_changes(speed: int = 2) -> torch.Tensor:
    """A camera that moves along."""
    scene = texture(2, SIDE + speed * FRAMES)
    return torch.stack([scene[:, :SIDE, speed * time : speed * time + SIDE] for time in range(FRAMES)])


@pytest.mark.parametrize("budget", [0.25, 0.5])
def test_no_frame_is_left_out_where_little_moves(budget: float) -> None:
    videos = torch.stack([still(), one_patch_changes()])
    assert choose_frames(videos, GRID, budget) == [list(range(FRAMES))] * 2


@pytest.mark.parametrize(("budget", "whole"), [(0.25, 4), (0.5, 8)])
def test_frames_are_left_out_where_everything_moves(budget: float, whole: int) -> None:
    kept = choose_frames(everything_changes()[None], GRID, budget)[0]
    assert whole <= len(kept) < 1.7 * whole
    assert (kept[0], kept[-1]) == (0, FRAMES - 1) and kept == sorted(set(kept))


def test_a_stream_is_chosen_for_alone() -> None:
    videos = [still(), everything_changes(), one_patch_changes().mul(0.1)]
    together = choose_frames(torch.stack(videos), GRID, 0.25)
    assert together == [choose_frames(video[None], GRID, 0.25)[0] for video in videos]


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips(frames: int) -> None:
    kept = choose_frames(everything_changes()[None, :frames], GRID, 0.01)[0]
    assert {0, frames - 1} <= set(kept)


def test_the_device_is_not_asked_until_all_ways_are_tried() -> None:
    # On this device nothing has any numbers.
    video = torch.stack([everything_changes(), still()]).to("meta")
    errors = errors_of_streams(video, GRID, [list(range(FRAMES)), [0, 5, 10, 15], [0, 15]], 0.25)
    assert errors.is_meta and errors.shape == (2, 3)


def test_brightness_and_contrast_do_not_matter() -> None:
    video = everything_changes()[None]
    assert choose_frames(video, GRID, 0.25) == choose_frames(3 * video + 100, GRID, 0.25)


def test_evenly_spaced_frames() -> None:
    assert evenly_spaced(9, 3).tolist() == [0, 4, 8]
    assert evenly_spaced(9, 9).tolist() == list(range(9))


def test_inner_products_are_of_every_second_patch_seen_from_the_first_frame() -> None:
    video = everything_changes()
    gram = inner_products(video, GRID)
    assert gram.shape == (9, FRAMES, FRAMES) and bool((gram[:, 0] == 0).all())
    patch = video[:, :, 8:12, 16:20].flatten(1)  # the third row, the fifth column
    shifted = patch - patch[:1]
    torch.testing.assert_close(gram[5] / gram[5, 7, 7], shifted @ shifted.T / shifted[7].square().sum())
    assert planning_cost(GRID, video[None]) == 9 * FRAMES**2 * 3 * 4 * 4


def test_polyline_errors_are_distances_to_the_lines_between_corners() -> None:
    points = torch.randn(3, 9, 5, generator=torch.Generator().manual_seed(0))
    points = points - points[:, :1]
    corners = torch.rand(2, 3, 9, generator=torch.Generator().manual_seed(1)) > 0.6
    corners[..., 0] = True
    left, right, share = between(corners)
    for choice in range(2):
        for row in range(3):
            line = torch.lerp(
                points[row, left[choice, row]], points[row, right[choice, row]], share[choice, row, :, None]
            )
            expected = (points[row] - line).square().sum(-1)
            torch.testing.assert_close(
                polyline_error(points @ points.mT, corners)[choice, row], expected, atol=1e-4, rtol=1e-4
            )


def test_between() -> None:
    left, right, share = between(torch.tensor([True, False, False, False, True, False]))
    assert left.tolist() == [0, 0, 0, 0, 4, 4] and right.tolist() == [0, 4, 4, 4, 4, 4]
    assert share.tolist() == [0, 0.25, 0.5, 0.75, 0, 0]


def test_more_corners_leave_less_error() -> None:
    gram = inner_products(everything_changes(), GRID)
    errors = [reuse_error(gram, share) for share in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0 and errors[-1] == 0


def test_whole_frames_have_the_error_of_skipping_alone() -> None:
    gram = inner_products(everything_changes(), GRID)
    kept = evenly_spaced(FRAMES, 4)
    corners = torch.zeros(1, len(gram), FRAMES, dtype=torch.bool).index_fill(2, kept, True)
    assert predicted_error(gram, kept, 0.25).item() == pytest.approx(polyline_error(gram, corners).mean().item())
    assert predicted_error(gram, kept, 0.1) > predicted_error(gram, kept, 0.25)
