"""A buffer of what was computed of every token."""

from __future__ import annotations

import torch


class Buffer:
    """Holds the last result of every token."""

    def __init__(self) -> None:
        self.rows = torch.empty(0)

    def update(self, rows: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor:
        """Puts new rows in the places `index`, `None` for all; returns the rows of all tokens."""
        if index is None:
            self.rows = rows.clone()
        else:
            self.rows.index_copy_(0, index, rows)
        return self.rows
