"""A few sizes to which packed rows are padded, so that shapes come again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class RowBuckets:
    """
    Pads packed rows to one of a few sizes.

    How many rows a plan computes depends on the video, and CUDA graphs and compiled code are made for fixed shapes.
    Sizes are multiples of `smallest`, and further apart the larger they are: `sizes_per_doubling` from each power of
    two to the next, so with 4 padding is at most a quarter, beyond the first few sizes.

    Rows are padded behind the last one. What works row by row is not changed by that; attention is not either, as no
    frame owns the padding and no link of a plan leads to it.

    Args:
        smallest (`int`): the smallest size.
        sizes_per_doubling (`int`): sizes between a power of two and the next.

    Example:

    ```python
    >>> from hf_ttr.execution.kernels.row_buckets import RowBuckets

    >>> [RowBuckets().size(rows) for rows in (1, 65, 500, 520, 3000)]
    [64, 128, 512, 640, 3072]
    ```
    """

    smallest: int = 64
    sizes_per_doubling: int = 4

    def __post_init__(self) -> None:
        for name in ("smallest", "sizes_per_doubling"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1.")

    def size(self, rows: int) -> int:
        """The size to which so many rows are padded; 0 stays 0."""
        half = 1 << max(rows - 1, 0).bit_length() >> 1  # the largest power of two below `rows`
        step = self.smallest * max(half // self.sizes_per_doubling // self.smallest, 1)
        return -(-rows // step) * step

    def pad(self, states: torch.Tensor, dim: int = -2) -> torch.Tensor:
        """
        Adds rows of zeros up to the size of a bucket.

        Args:
            states (`torch.Tensor`): packed rows, such as `(1, rows, hidden_size)`.
            dim (`int`): the dimension of the rows.
        """
        return pad_rows(states, self.size(states.shape[dim]), dim)


def trim_rows(states: torch.Tensor, rows: int, dim: int = -2) -> torch.Tensor:
    """The first so many rows along a dimension: what `pad_rows` was given."""
    return states if states.shape[dim] <= rows else states.narrow(dim, 0, rows)


def pad_rows(states: torch.Tensor, rows: int, dim: int = -2) -> torch.Tensor:
    """Adds rows of zeros along a dimension until there are so many."""
    missing = rows - states.shape[dim]
    if not missing:
        return states
    behind = states.dim() - 1 - dim % states.dim()
    return nn.functional.pad(states, (0, 0) * behind + (0, missing))
