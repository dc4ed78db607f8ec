"""Metrics keep what they write in a folder of the tests, and the network is not there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluate.config
import pytest

import hf_ttr.metrics


@pytest.fixture(scope="package", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps examples and copies of scripts out of the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path_factory.mktemp("unused"))
        for name in ("HF_METRICS_CACHE", "HF_MODULES_CACHE"):
            patch.setattr(evaluate.config, name, tmp_path_factory.mktemp(name.lower()))
        # Another test may have loaded a metric through the home folder, where Python would look on.
        for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
            patch.delitem(sys.modules, name)
        yield


@pytest.fixture(scope="package", autouse=True)
def no_network(caches: None) -> Iterator[None]:
    """Fails the test that looks up a host."""

    def refuse(*args: object, **kwargs: object) -> None:
        pytest.fail(f"the network was asked for {args[:2]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.getaddrinfo", refuse)
        yield


@pytest.fixture(scope="package")
def metric() -> Callable[[str], Any]:
    """Loads each metric once."""
    loaded: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in loaded:
            loaded[name] = hf_ttr.metrics.load(name, keep_in_memory=True)
        return loaded[name]

    return load


def folder_of(name: str) -> Path:
    """The folder of a metric."""
    return Path(hf_ttr.metrics.__file__).parent / name
