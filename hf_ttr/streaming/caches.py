"""The caches of streams that are called together now and apart then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


class StreamCaches:
    """
    Holds a cache for each stream; those that were called together stay together as long as they are.

    Names are those of streams, in the order in which they are rows of a cache.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], Any] = {}

    def __contains__(self, name: str) -> bool:
        return any(name in names for names in self._groups)

    @property
    def memory_bytes(self) -> int:
        """Bytes held by all streams together."""
        return sum(cache.memory_bytes for cache in self._groups.values())

    def take(self, names: Sequence[str]) -> Any:
        """The cache with these streams alone, which are then not held any more; each must be there."""
        if tuple(names) in self._groups:
            return self._groups.pop(tuple(names))
        parts, found = [], []
        for group, cache in list(self._groups.items()):
            wanted = [number for number, name in enumerate(group) if name in names]
            if not wanted:
                continue
            del self._groups[group]
            rest = [number for number, name in enumerate(group) if name not in names]
            if rest:
                self._groups[tuple(group[number] for number in rest)] = cache.take(torch.tensor(rest))
                cache = cache.take(torch.tensor(wanted))
            parts.append(cache)
            found += [group[number] for number in wanted]
        joined = parts[0] if len(parts) == 1 else type(parts[0]).join(parts)
        return joined if found == list(names) else joined.take(torch.tensor([found.index(name) for name in names]))

    def put(self, names: Sequence[str], cache: Any) -> None:
        """Holds a cache with these streams, in place of what is held of them."""
        self.drop(names)
        self._groups[tuple(names)] = cache

    def peek(self, name: str) -> Any:
        """A copy with one stream alone; `None` if it is not held."""
        for names, cache in self._groups.items():
            if name in names:
                return cache.take(torch.tensor([names.index(name)]))
        return None

    def drop(self, names: Sequence[str]) -> None:
        """Forgets streams."""
        for group, cache in list(self._groups.items()):
            rest = [number for number, name in enumerate(group) if name not in names]
            if len(rest) == len(group):
                continue
            del self._groups[group]
            if rest:
                self._groups[tuple(group[number] for number in rest)] = cache.take(torch.tensor(rest))
