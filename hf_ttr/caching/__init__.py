"""What is remembered from frame to frame, and from process to process."""

from typing import TYPE_CHECKING

from ..lazy import lazy_names


if TYPE_CHECKING:
    from .cache import ReuseCache, TemporalReuseCache
    from .factorized_cache import TemporalReuseFactorizedCache
    from .snapshot import SnapshotError, load_cache, save_cache
    from .window_cache import TemporalReuseWindowCache


__all__ = [
    "ReuseCache",
    "SnapshotError",
    "TemporalReuseCache",
    "TemporalReuseFactorizedCache",
    "TemporalReuseWindowCache",
    "load_cache",
    "save_cache",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "cache": ["ReuseCache", "TemporalReuseCache"],
        "factorized_cache": ["TemporalReuseFactorizedCache"],
        "snapshot": ["SnapshotError", "load_cache", "save_cache"],
        "window_cache": ["TemporalReuseWindowCache"],
    },
)
