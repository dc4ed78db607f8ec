"""The fixtures that the invariants ask for, of the few cases of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ..tiny import TINY_VIT
from .cases import ModelCase


def case_fixtures(cases: Sequence[ModelCase], plain: Sequence[ModelCase] = ()) -> tuple[Any, Any, Any, Any]:
    """
    `case`, `some_case`, `plain_case` and `causal_case` for a test file, in this order.

    Args:
        cases: for everything; the first is also for what does not hang on the settings.
        plain: further ones, for what is compared with the parent alone.
    """
    causal = [case for case in cases if case.settings["mode"] == "causal"]
    compared = [case for case in [*cases, *plain] if not case.reduces]
    return _fixture(cases), _fixture(cases[:1]), _fixture(compared), _fixture(causal)


def _fixture(cases: Sequence[ModelCase]) -> Any:
    @pytest.fixture(params=cases, ids=str)
    def chosen(request: pytest.FixtureRequest) -> ModelCase:
        return request.param

    return chosen


TINY_FRAMES: dict[str, Any] = {**TINY_VIT, "num_hidden_layers": 2}
# The clips are noise, in which a wide neighbourhood finds a change everywhere.
NEAR: dict[str, Any] = {"context_weight": 0.1, "context_size": 3}
BUDGET: dict[str, Any] = {"compute_budget": 0.4, **NEAR}
TOME: dict[str, Any] = {**NEAR, "reduction": {"method": "tome", "r": 4}}
PRUNING: dict[str, Any] = {**NEAR, "reduction": {"method": "pruning", "keep": 0.6, "layers": [0]}}
VIDTOME: dict[str, Any] = {**NEAR, "reduction": {"method": "vidtome", "chunk": 3}}
