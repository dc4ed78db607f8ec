"""Token merging by explicit loops over the rows of one set: what the packed code is held against."""

from __future__ import annotations

import torch


def merge_by_loops(
    states: torch.Tensor, sizes: torch.Tensor, keys: torch.Tensor, merges: int, protected: int
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """
    Args:
        states (`(rows, dim)`), sizes (`(rows,)`), keys (`(rows, key_dim)`): of one set.
        merges, protected: how many rows to merge away, and rows in front that stay as they are.

    Returns:
        States and sizes of the rows that are left, and for each row before which one it is in.
    """
    rows = len(states)
    pairs = []
    for source in range(0, rows, 2):
        if source < protected:
            continue
        best = max(
            (
                (float(torch.cosine_similarity(keys[source], keys[target], dim=0)), -target)
                for target in range(1, rows, 2)
                if target >= protected
            ),
        )
        pairs.append((best[0], source, -best[1]))
    pairs.sort(key=lambda pair: (-pair[0], pair[1]))
    members = {row: [row] for row in range(rows)}
    for _, source, target in pairs[:merges]:
        members[target].append(source)
        del members[source]
    left = sorted(members)
    place = [next(new for new, row in enumerate(left) if old in members[row]) for old in range(rows)]
    new_sizes = torch.stack([sum(sizes[row] for row in members[row_]) for row_ in left])
    new_states = torch.stack(
        [sum(sizes[row] * states[row] for row in members[row_]) / total for row_, total in zip(left, new_sizes)]
    )
    return new_states, new_sizes, place
