"""The examples of the README, of the documentation and of the docstrings print what they say."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import hf_ttr
from hf_ttr.models.register import MODELS
from hf_ttr.reduction import base as reduction


ROOT = Path(__file__).resolve().parent.parent
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
MODULES = sorted(module.name for module in pkgutil.walk_packages(hf_ttr.__path__, "hf_ttr."))


def run(text: str, name: str) -> int:
    """Runs the examples in a text and returns how many there are; a wrong one fails."""
    # A fence would be taken for expected output.
    text = re.sub(r"^\s*```.*$", "", text, flags=re.MULTILINE)
    examples = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    output: list[str] = []
    results = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(examples, out=output.append)
    assert results.failed == 0, "".join(output)
    return results.attempted


def test_readme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run((ROOT / "README.md").read_text(), "README.md") > 10


@pytest.mark.parametrize("page", [page for page in PAGES if ">>>" in page.read_text()], ids=lambda page: page.stem)
def test_documentation(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # A method, and a model, that a page registers is gone behind it.
    monkeypatch.setattr(reduction, "_METHODS", dict(reduction._METHODS))
    known = set(MODELS)
    try:
        assert run(page.read_text(), page.name) > 0
    finally:
        for model_type in set(MODELS) - known:
            del MODELS[model_type]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_no_python_stands_without_being_run(page: Path) -> None:
    blocks = re.findall(r"^```(?:python|py)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    # Files of the examples have tests of their own.
    files = [path.read_text() for path in (ROOT / "examples").glob("*.py")]
    assert [block for block in blocks if ">>>" not in block and not any(block in file for file in files)] == []


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    if name.endswith("_triton"):
        pytest.importorskip("triton", reason="triton is not installed.")
    module = importlib.import_module(name)
    for item in list(vars(module).values()):
        if getattr(item, "__module__", None) == name and hasattr(item, "__name__") and ">>>" in (item.__doc__ or ""):
            assert run(item.__doc__, f"{name}.{item.__name__}") > 0


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_public_names_are_there() -> None:
    assert [name for name in hf_ttr.__all__ if not hasattr(hf_ttr, name)] == []
