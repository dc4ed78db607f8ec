"""The cache of models that look at frames one by one, and then at the frames of a window together."""

from __future__ import annotations

from typing import ClassVar

import torch

from .cache import TemporalReuseCache


class TemporalReuseFactorizedCache(TemporalReuseCache):
    """
    The `past_key_values` of windows of a stream, for a model that looks at frames one by one first.

    It is a `TemporalReuseCache` of that first part, and also holds what that made of each frame of the last window:
    where the next window is known to overlap, by its `stride`, these frames need no row. Memory is constant: per
    stream `(2 * layers + frames) * tokens * hidden_size` values and a few per position.

    Args:
        num_layers (`int`): transformer layers of the part that looks at frames.

    Attributes:
        window_states (`torch.Tensor` of shape `(batch, frames, tokens, hidden_size)`, *optional*): last hidden states
            of the frames of the last window; `None` before the first.
        checksums (`torch.DoubleTensor` of shape `(batch, frames)`, *optional*): sums of the pixels of these frames.

    Example:

    ```python
    >>> from hf_ttr import TemporalReuseFactorizedCache

    >>> TemporalReuseFactorizedCache(num_layers=12)
    TemporalReuseFactorizedCache(layers=12, streams=0)
    ```
    """

    row_states: ClassVar[tuple[str, ...]] = (*TemporalReuseCache.row_states, "window_states", "checksums")

    def __init__(self, num_layers: int) -> None:
        super().__init__(num_layers)
        self.window_states: torch.Tensor | None = None
        self.checksums: torch.Tensor | None = None

    def crop(self, tokens_to_remove: int) -> None:
        """
        Not possible: what came before the last window is not there any more.

        Raises:
            NotImplementedError: always; it says what to do instead.
        """
        raise NotImplementedError(
            f"a {type(self).__name__} cannot go back in time; keep a copy (copy.deepcopy) of the cache, or reset it."
        )
