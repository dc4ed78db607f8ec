"""Which of the cases of a model are tested with a head, and which without."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the half of the pairs of `case` and `base` that a case with `headless` does without."""
    kept, left_out = [], []
    for item in items:
        values = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        headless = getattr(values.get("case"), "headless", None)
        (kept if headless in (None, values.get("base", headless)) else left_out).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
