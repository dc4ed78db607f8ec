"""requirements.lock is complete: what constraints.txt and the dependencies say, each with hashes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, set[str]]:
    """Versions of each package, as it may have several for different systems."""
    found: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=[a-zA-Z0-9])", (ROOT / "requirements.lock").read_text()):
        first, *rest = [line.strip().removesuffix("\\").strip() for line in block.splitlines() if line[:1] != "#"] or [
            ""
        ]
        if not first:
            continue
        name, version = re.match(r"([\w.-]+)==([\w.+!]+)", first).groups()  # type: ignore[union-attr]
        assert rest and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line) for line in rest), name
        found.setdefault(canonical(name), set()).add(version)
    return found


def test_versions_are_those_of_the_constraints() -> None:
    found = locked()
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    shared = {canonical(name) for name in pinned} & set(found)
    assert {"torch", "transformers", "av", "numpy", "pytest", "datasets"} <= shared
    for name, version in pinned.items():
        assert found.get(canonical(name), {version}) == {version}, name


def test_all_dependencies_are_there() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 has it.")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = project["project"]["dependencies"] + extras["tests"] + extras["evaluation"] + ["setuptools"]
    names = {canonical(re.match(r"[\w.-]+", entry)[0]) for entry in wanted}  # type: ignore[index]
    assert names <= set(locked())


def test_it_names_no_place() -> None:
    assert not re.search(r"https?://|^-", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
