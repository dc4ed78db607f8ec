"""
Frame skipping: which frames of a clip to leave out whole, so that the others get more of the budget.

Where little moves, every frame is best planned token by token. Where everything does, tokens of different times do not
fit each other, and whole frames with outputs interpolated between them are nearer to the dense model. In between, some
frames are left out and tokens of the others are reused. What each way costs in accuracy is predicted from the pixels,
before anything is computed: the squared error of the patches between frames that are kept, and, times `REUSE_FACTOR`,
of those that are reused within them, as these are attended to with what they do not fit.
"""

from __future__ import annotations

import torch

from ..devices import on_device
from .bidirectional import best_corners, polyline_errors


REUSE_FACTOR = 7.0
"""What an error inside a frame that is kept weighs against one in a frame that is left out; see `docs/planning.md`."""

GAINS = (1.0, 1.25, 1.6, 2.0, 2.8, 4.0)
"""How many times as many frames are tried as the budget has whole ones; and all frames."""

FEWEST = 3
"""Frames of which one can be left out, as the first and the last are always kept."""

PRICES = 8
"""Prices of a corner that are tried, evenly spaced in their logarithms, over `PRICE_RANGE` times the mean change."""

PRICE_RANGE = (-3.0, 1.0)
"""Powers of ten."""


@torch.no_grad()
def choose_frames(video: torch.Tensor, grid: tuple[int, int], budget: float) -> list[list[int]]:
    """
    The frames of each stream that are not left out.

    Args:
        video (`torch.Tensor` of shape `(batch, frames, channels, height, width)`): pixels.
        grid (`tuple[int, int]`): rows and columns of patches in a frame.
        budget (`float`): share of all tokens that may be computed, above 0.

    Returns:
        For each stream the numbers of its frames, increasing; the first and the last are among them.
    """
    if video.device.type == "mps":
        video = video.cpu()  # It has no numbers in double precision.
    frames = video.shape[1]
    if frames < FEWEST:
        return [list(range(frames))] * video.shape[0]
    tried: list[list[int]] = [kept.tolist() for kept in candidates(frames, budget)]
    errors = errors_of_streams(video, grid, tried, budget)
    # Where nothing moves all are as good, and no frame is left out.
    return [tried[place] for place in errors.argmin(1).tolist()]  # The only time the host waits for the device.


def errors_of_streams(
    video: torch.Tensor, grid: tuple[int, int], tried: list[list[int]], budget: float
) -> torch.Tensor:
    """
    What each way to leave out frames does to the outputs of each stream; the device is not asked for anything.

    Args:
        video, grid, budget: as in `choose_frames`.
        tried: numbers of the frames that are kept, for each way.

    Returns:
        `torch.DoubleTensor` of shape `(batch, ways)`, as `predicted_error` returns each.
    """
    ways = [on_device(kept, video.device) for kept in tried]
    errors = []
    for frames in video:
        gram = inner_products(frames, grid)
        errors.append(torch.stack([predicted_error(gram, kept, budget) for kept in ways]))
    return torch.stack(errors)


def planning_cost(grid: tuple[int, int], video: torch.Tensor) -> int:
    """Multiply-adds that `choose_frames` spends on each stream."""
    rows, columns = grid
    frames, channels, height, width = video.shape[1:]
    if frames < FEWEST:
        return 0
    patches = -(-rows // 2) * -(-columns // 2)
    return patches * frames * frames * channels * (height // rows) * (width // columns)


def candidates(frames: int, budget: float) -> list[torch.Tensor]:
    """The frames that may be kept of so many, each as `evenly_spaced` returns them: first all, then ever fewer."""
    whole = max(round(budget * frames), 2)
    counts = {frames, *(min(round(gain * whole), frames) for gain in GAINS)}
    return [evenly_spaced(frames, count) for count in sorted(counts, reverse=True)]


def evenly_spaced(frames: int, count: int) -> torch.Tensor:
    """`count` of so many frames, the first and the last among them: `torch.LongTensor`, increasing."""
    return torch.linspace(0, frames - 1, count, device="cpu").round().long()


def inner_products(frames: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """
    What the errors of all plans follow from, of every second patch along both sides.

    Args:
        frames (`torch.Tensor` of shape `(frames, channels, height, width)`): pixels.
        grid (`tuple[int, int]`): rows and columns of patches.

    Returns:
        `torch.FloatTensor` of shape `(patches, frames, frames)`: inner products of the pixels of each patch at two
        times, both seen from those in the first frame, relative to their mean square change.
    """
    rows, columns = grid
    height, width = frames.shape[-2] // rows, frames.shape[-1] // columns
    whole = frames[..., : rows * height, : columns * width].unflatten(3, (columns, width)).unflatten(2, (rows, height))
    # One of a single row or column has nothing between.
    chosen = whole[:, :, ::2, :, ::2].float()
    points = (chosen - chosen[:1]).permute(2, 4, 0, 1, 3, 5).flatten(3).flatten(0, 1)
    gram = points @ points.mT
    return gram / gram.diagonal(dim1=1, dim2=2).mean().clamp(min=1e-12)


def predicted_error(gram: torch.Tensor, kept: torch.Tensor, budget: float) -> torch.Tensor:
    """
    What leaving out all but some frames, and reusing tokens of these, does to the outputs: a number in a
    `torch.DoubleTensor`, in a unit of its own.

    Args:
        gram (`torch.FloatTensor` of shape `(patches, frames, frames)`): as `inner_products` returns it.
        kept (`torch.LongTensor` of shape `(kept,)`): the frames that are not left out, on the device of `gram`.
        budget (`float`): share of the tokens of all frames that may be computed.
    """
    reused, skipped = errors_of(gram, kept, budget)
    return REUSE_FACTOR * reused + skipped


def errors_of(gram: torch.Tensor, kept: torch.Tensor, budget: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The two parts of `predicted_error`: mean squared errors inside the frames that are kept, and between them."""
    frames = gram.shape[-1]
    corners = torch.zeros(1, 1, frames, dtype=torch.bool, device=gram.device).index_fill(2, kept, True)
    skipped = polyline_error(gram, corners.expand(-1, len(gram), -1)).mean().double()
    return reuse_error(gram[:, kept][:, :, kept], budget * frames / len(kept)), skipped


def places_between(kept: torch.Tensor, frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Where frames lie between those that are kept.

    Args:
        kept (`torch.LongTensor` of shape `(kept,)`): numbers of frames, increasing, the first and the last among them.
        frames (`int`): number of frames.

    Returns:
        Three tensors of shape `(frames,)`: the place in `kept` of the frame before each, or itself, and of the one
        after; and the share of the latter, a `torch.FloatTensor`, linear in time.
    """
    corners = torch.zeros(frames, dtype=torch.bool, device=kept.device).index_fill(0, kept, True)
    left, right, share = between(corners)
    place = corners.cumsum(0) - 1
    return place[left], place[right], share


def reuse_error(gram: torch.Tensor, share: float) -> torch.Tensor:
    """
    Mean squared error of the best polylines that have so many corners, a number in a `torch.DoubleTensor`.

    Args:
        gram (`torch.FloatTensor` of shape `(patches, frames, frames)`): inner products, the first frame being 0.
        share (`float`): of the corners; the first frame has one everywhere.
    """
    patches, frames, _ = gram.shape
    none = gram.new_zeros((), dtype=torch.float64)
    if share >= 1 or frames < 3:
        return none
    change = gram.diagonal(dim1=1, dim2=2).mean()
    prices = frames * change * torch.logspace(*PRICE_RANGE, PRICES, device=gram.device)
    age = torch.ones(patches, dtype=torch.long, device=gram.device)
    corners = best_corners(*polyline_errors(gram, age, max_age=None), prices[:, None].expand(-1, patches))
    errors = polyline_error(gram, corners).mean((1, 2)).double()
    shares = corners.float().mean((1, 2)).double()
    # From many corners to few. A place stays a tensor with a dimension: the host would read one without.
    fits = shares <= share
    after = torch.where(fits.any(), fits.float().argmax(0, keepdim=True), PRICES - 1)
    before = (after - 1).clamp(min=0)
    (error, more_error), (few, many) = ((of[after], of[before]) for of in (errors, shares))
    part = (many - share) / (many - few)
    is_at_price = (after == 0) | (few > share) | (many == few)
    found = torch.where(is_at_price, error, more_error + part * (error - more_error))
    return torch.where(change == 0, none, found[0])


def polyline_error(gram: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """
    Squared errors of points that are replaced by polylines; after the last corner it is held.

    Args:
        gram (`torch.FloatTensor` of shape `(n, points, points)`): inner products of the points of each trajectory.
        corners (`torch.BoolTensor` of shape `(k, n, points)`): k alternatives; point 0 is one in all.

    Returns:
        `torch.FloatTensor` of shape `(k, n, points)`.
    """
    left, right, share = between(corners)
    trajectory = torch.arange(len(gram), device=gram.device)[:, None]
    time = torch.arange(corners.shape[-1], device=gram.device)
    at_left, at_right = gram[trajectory, left], gram[trajectory, right]

    def product(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return rows.gather(-1, index[..., None])[..., 0]

    line = (1 - share).square() * product(at_left, left) + share.square() * product(at_right, right)
    line = line + 2 * share * (1 - share) * product(at_left, right)
    now = time.expand_as(left)
    cross = (1 - share) * product(at_left, now) + share * product(at_right, now)
    return (gram.diagonal(dim1=1, dim2=2) - 2 * cross + line).clamp(min=0)


def between(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Where points lie between corners.

    Args:
        corners (`torch.BoolTensor` of shape `(..., points)`): the first point is one.

    Returns:
        Three tensors of the same shape: the corner before each point, or itself, and the one after, or again the one
        before where none follows; and the share of the latter, a `torch.FloatTensor`, linear in time.
    """
    points = corners.shape[-1]
    index = torch.arange(points, device=corners.device)
    left = torch.where(corners, index, 0).cummax(-1).values
    right = torch.where(corners, index, points).flip(-1).cummin(-1).values.flip(-1)
    right = torch.where(right == points, left, right)
    return left, right, torch.where(right > left, (index - left) / (right - left).clamp(min=1), 0.0)
