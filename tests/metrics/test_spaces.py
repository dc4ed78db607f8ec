"""The folders are Spaces: card, page, requirements and cases are there, and say what is true."""

from __future__ import annotations

import doctest
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas
import pytest
from evaluate.loading import get_imports
from huggingface_hub import RepoCard

import hf_ttr

from .conftest import folder_of


ROOT = Path(__file__).parents[2]
NAMES = hf_ttr.metrics.NAMES
CASES = {
    f"{name}-{number}": (name, case)
    for name in NAMES
    for number, case in enumerate(runpy.run_path(str(folder_of(name) / "tests.py"))["test_cases"])
}


def run_examples(text: str, name: str) -> int:
    """Runs the examples in a text and returns how many there are; a wrong one fails."""
    text = re.sub(r"^\s*```.*$", "", text, flags=re.MULTILINE)
    output: list[str] = []
    examples = doctest.DocTestParser().get_doctest(text, {}, name, name, 0)
    results = doctest.DocTestRunner(verbose=False).run(examples, out=output.append)
    assert results.failed == 0, "".join(output)
    return results.attempted


def example_inputs(name: str) -> dict[str, Any]:
    """The inputs of the case of a metric that has most of them."""
    cases = [case for _, (of, case) in CASES.items() if of == name]
    case = max(cases, key=len)
    return {key: value for key, value in case.items() if key != "result"}


@pytest.mark.parametrize("name", NAMES)
def test_folder_is_complete(name):
    files = {path.name for path in folder_of(name).iterdir() if path.is_file()}
    assert files == {f"{name}.py", "README.md", "app.py", "requirements.txt", "tests.py"}


@pytest.mark.parametrize("name", NAMES)
def test_card_header(name):
    header = RepoCard.load(folder_of(name) / "README.md").data.to_dict()
    assert header["title"] == name.replace("_", " ").title()
    assert header["tags"] == ["evaluate", "metric"]
    assert (header["sdk"], header["app_file"], header["pinned"]) == ("gradio", "app.py", False)
    assert header["description"]


@pytest.mark.parametrize("name", NAMES)
def test_card_and_inputs_description_name_everything(name, metric):
    module = metric(name)
    card = (folder_of(name) / "README.md").read_text()
    results = set().union(*(case["result"] for of, case in CASES.values() if of == name))
    results |= set(module.compute(**example_inputs(name)))
    for term in set(module.features) | results:
        assert f"**{term}**" in card, term
        assert re.search(rf"\b{term}\b", module.inputs_description), term
    citation = card.partition("```bibtex\n")[2].partition("```")[0]
    assert citation == module.citation


@pytest.mark.parametrize("name", NAMES)
def test_info(name, metric):
    info = metric(name).info
    assert "\n" not in info.description.strip() and info.description.strip().endswith(".")
    assert info.license == "Apache-2.0"
    for feature in info.features.values():
        dtype = getattr(feature, "feature", feature).dtype
        assert dtype in ("float64", "int64", "string")
    # The three methods tell how they are called.
    for method in ("compute", "add", "add_batch"):
        assert getattr(metric(name), method).__doc__.endswith(info.inputs_description)


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_the_inputs_description(name, metric):
    assert run_examples(metric(name).inputs_description, name) >= 4


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_the_card(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert run_examples((folder_of(name) / "README.md").read_text(), f"{name}/README.md") >= 4


@pytest.mark.parametrize(("name", "case"), CASES.values(), ids=CASES)
def test_cases(name, case, metric):
    results = metric(name).compute(**{key: value for key, value in case.items() if key != "result"})
    for key, value in case["result"].items():
        assert results[key] == (None if value is None else pytest.approx(value, abs=1e-12)), key


@pytest.mark.parametrize("name", NAMES)
def test_requirements_are_what_the_script_imports(name):
    imported = {module for _, module, *_ in get_imports(str(folder_of(name) / f"{name}.py"))} - {"typing"}
    required = re.findall(r"^[\w-]+", (folder_of(name) / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert {package.replace("-", "_") for package in required} == imported


@pytest.mark.filterwarnings("ignore:The inplace keyword")
@pytest.mark.parametrize("name", NAMES)
def test_page_with_a_stand_in_for_gradio(name, metric, monkeypatch):
    interfaces = []

    class Interface:
        def __init__(self, **options: Any) -> None:
            self.options, self.launched = options, False
            interfaces.append(self)

        def launch(self) -> None:
            self.launched = True

    gradio: Any = ModuleType("gradio")
    gradio.Interface = Interface
    gradio.inputs = SimpleNamespace(Dataframe=lambda **options: options)
    gradio.outputs = SimpleNamespace(Textbox=lambda **options: options)
    monkeypatch.setitem(sys.modules, "gradio", gradio)
    monkeypatch.syspath_prepend(folder_of(name))

    runpy.run_path(str(folder_of(name) / "app.py"), run_name="__main__")

    (interface,) = interfaces
    assert interface.launched
    assert interface.options["title"] == f"Metric: {name}"
    assert interface.options["article"].lstrip().startswith("# Metric Card")
    headers = interface.options["inputs"]["headers"]
    assert list(headers) == list(metric(name).features)
    # A table as the page hands it over: lists are text, and every cell is filled in.
    inputs = example_inputs(name)
    table = pandas.DataFrame({header: [*map(cell, inputs[header])] for header in headers})
    assert interface.options["fn"](table) == metric(name).compute(**inputs)


def cell(value: Any) -> Any:
    return str(value) if isinstance(value, list) else value
