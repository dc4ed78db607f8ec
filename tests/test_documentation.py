"""The documents build without a warning, and what they name is there: commands, options, public names, the version."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

import hf_ttr
import hf_ttr.evaluation
import hf_ttr.reduction
import hf_ttr.streaming
import hf_ttr.visualization
from hf_ttr.cli import app


ROOT = Path(__file__).resolve().parent.parent
DETAILS = sorted((ROOT / "docs" / "benchmarks").glob("*.md"))
REFERENCE = sorted((ROOT / "docs" / "reference").glob("*.md"))
PUBLIC = (hf_ttr, hf_ttr.evaluation, hf_ttr.reduction, hf_ttr.streaming, hf_ttr.visualization)
# Placeholders of the documents: a number, a name, or "and so on".
STANDS_FOR = {"X": "0.1", "SHARE": "0.2", "MODE": "causal", "...": ""}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from the committed files."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason=f"{package} is not installed; the extra docs brings it.")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_page(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").glob("*.md")}
    pages |= {page.relative_to(ROOT / "docs").with_suffix(".html") for page in REFERENCE}
    pages |= {page.relative_to(ROOT / "docs").with_suffix(".html") for page in DETAILS}
    pages.remove(Path("README.html"))
    assert [str(page) for page in sorted(pages) if not (site / page).is_file()] == []
    assert not (site / "README.html").exists() and not (site / "tables").exists() and not (site / "hooks.py").exists()


def test_the_site_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r'<(?:script|img|iframe)[^>]* src="https?://[^"]*"', text), page
        assert not re.findall(r'<link[^>]* rel="(?:stylesheet|preconnect)"[^>]* href="https?://[^"]*"', text), page


def test_links_to_other_folders_lead_to_files_of_the_site(site: Path) -> None:
    found = re.findall(r'href="([^"#]*repository/[^"#]*)', (site / "evaluation.html").read_text())
    assert any(link.endswith("repository/data/index.html") for link in found)
    assert [link for link in found if not (site / link).exists()] == []
    assert (site / "repository" / "examples" / "train_head.py").read_bytes() == (
        ROOT / "examples" / "train_head.py"
    ).read_bytes()


def test_docstrings_are_in_the_reference(site: Path) -> None:
    page = (site / "reference" / "configuration.html").read_text()
    assert 'id="hf_ttr.TemporalReuseConfig"' in page
    assert "How a video model decides which tokens to compute" in page and "compute_budget" in page


def test_types_of_docstrings_are_plain(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        assert re.findall(r"<code>[^<]*`[^<]*</code>", page.read_text()) == [], page
    script = load(ROOT / "docs" / "docstrings.py")
    text = """
    Does something (`not this`): at once.

    Args:
        mode (`str`, defaults to `"off"`): or `"on"`.
        size (`int` or `list[int]`, *optional*): of it.
        rows (array of shape `(rows, dim)`): numbers.

    Returns:
        `torch.Tensor` of shape `(rows,)`: `x` of each.
    """
    assert (
        script.plain_types(text)
        == """
    Does something (`not this`): at once.

    Args:
        mode (str): or `"on"`.
        size (int or list[int]): of it.
        rows (array of shape (rows, dim)): numbers.

    Returns:
        torch.Tensor of shape (rows,): `x` of each.
    """
    )


def test_prompts_and_outputs_are_told_from_code_and_not_copied(site: Path) -> None:
    for page in ("quickstart.html", "reference/streaming.html"):
        text = (site / page).read_text()
        # The prompt is a part of its own, which the style sheet hides from the button that copies.
        assert 'class="gp">&gt;&gt;&gt; ' in text and not re.search(r'class="[op]">&gt;&gt;&gt;', text)
    assert re.search(r'class="go">(?:&#39;|\')space shuttle', (site / "quickstart.html").read_text())
    style = (site / "stylesheets" / "code.css").read_text()
    for part in ("gp", "go"):
        assert re.search(rf"code\[data-md-copying\] \.{part}\b[^{{}}]*\{{\s*display: none", style)
    assert "stylesheets/code.css" in (site / "reference" / "streaming.html").read_text()


def test_pages_lead_to_their_neighbours(site: Path) -> None:
    text = (site / "quickstart.html").read_text()
    assert re.search(r'<a href="index.html" class="md-footer__link md-footer__link--prev"', text)
    assert re.search(r'<a href="choosing_a_threshold.html" class="md-footer__link md-footer__link--next"', text)


def test_what_people_ask_for_is_found(site: Path) -> None:
    documents = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    for word in ("onnx", "export", "float16", "tensorrt", "swin", "windows", "training"):
        found = [entry["location"] for entry in documents if word in f"{entry['title']} {entry['text']}".lower()]
        assert any(location.startswith("supported.html") for location in found), word
    titles = {entry["title"] for entry in documents if entry["location"].startswith("supported.html")}
    assert {"Export: ONNX, torch.export, TorchScript", "Numbers: float16, bfloat16, quantization"} <= titles


def test_the_overview_of_the_benchmarks_is_short() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text()
    questions = text.split("\n## ")[1:]
    for question in questions:
        assert question.count("![") == 1 and question.count("\n|---|") == 1 and "](benchmarks/" in question
        assert len([line for line in question.splitlines() if line.startswith("|")]) <= 12
    assert len(questions) == 9 and text.count("\n|---|") == 10
    assert set(re.findall(r"\(benchmarks/(\w+)\.md", text)) == {page.stem for page in DETAILS}


def test_internals_are_not_in_the_reference(site: Path) -> None:
    shown = {
        name
        for page in (site / "reference").glob("*.html")
        for name in re.findall(r'id="(hf_ttr[^"]*)"', page.read_text())
    }
    assert "hf_ttr.TemporalReuseCache.reset" in shown and "hf_ttr.streaming.StreamEngine.push" in shown
    inside = r"Planner|remember|kept$|check_owner|numbers_of|encode_|refuse_|add_head|adopt|model_shape|update_"
    assert [name for name in shown if re.search(inside, name)] == []


def load(path: Path) -> ModuleType:
    """A script of the documents as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def directives() -> list[str]:
    return [name for page in REFERENCE for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]


def test_public_names_are_in_the_reference() -> None:
    listed = set(directives())
    assert len(listed) == len(directives())
    missing = []
    for module in PUBLIC:
        for name in module.__all__:
            item = getattr(module, name)
            homes = {
                f"{module.__name__}.{name}",
                f"{getattr(item, '__module__', '')}.{name}",
                f"{module.__name__}.{name}.load",
            }
            if not homes & listed:
                missing.append(f"{module.__name__}.{name}")
    assert missing == []


@pytest.mark.parametrize("name", directives())
def test_names_of_the_reference_are_there(name: str) -> None:
    module, _, rest = name.rpartition(".")
    while importlib.util.find_spec(module) is None:
        module, _, more = module.rpartition(".")
        rest = f"{more}.{rest}"
    item: Any = importlib.import_module(module)
    for part in rest.split("."):
        item = getattr(item, part)
    assert item.__doc__


def test_the_page_of_commands_is_current() -> None:
    if f"typer=={version('typer')}\n" not in (ROOT / "constraints.txt").read_text():
        pytest.skip("another version of typer writes the page in another way.")
    script = load(ROOT / "scripts" / "make_cli_reference.py")
    assert script.PAGE.read_text() == script.page()


def commands(text: str) -> Iterator[str]:
    """The commands in a text: those in code, joined where a line goes on."""
    text = re.sub(r"\\\n\s*", " ", text)
    for language, block in re.findall(r"^ *```(\w*)\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        if language not in ("", "bash", "console"):
            continue
        for line in block.splitlines():
            if match := re.match(r"\s*(?:\S*/)?hf-ttr (.*)", line.split("  #")[0]):
                yield match[1]
            elif match := re.search(r"-m hf_ttr\.evaluate (.*)", line.split("  #")[0]):
                yield f"evaluate {match[1]}"
    without_blocks = re.sub(r"^\s*```.*?^\s*```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`hf-ttr ([^`]+)`", without_blocks)
    if text.startswith("#!"):
        yield from re.findall(r"^\s*hf-ttr (.*)$", text, re.MULTILINE)


def variants(command: str) -> list[list[str]]:
    """What a command may be, with each of the alternatives in its brackets."""
    command = command.split(" | ")[0] if "[" not in command else command
    if match := re.search(r"\[([^][]*)\]", command):
        found = []
        for choice in match[1].split("|"):
            found += variants(command[: match.start()] + choice.strip() + command[match.end() :])
        return found
    words = [STANDS_FOR.get(word, word) for word in shlex.split(command)]
    # Variables of a script: all that are left out here are numbers or paths.
    return [["0.5" if word.startswith("$") else word for word in words if word and word != "$@"]]


def check(words: list[str]) -> None:
    """Fails unless the program takes the command; what it requires may be left out in a text."""
    group: Any = typer.main.get_command(app)
    name, *arguments = words
    if name.startswith("--"):
        assert any(name in option.opts for option in group.params), name
        return
    if name == "COMMAND":
        return
    assert name in group.commands, f"there is no command {name}"
    while True:
        try:
            # Parses, and runs nothing.
            group.commands[name].make_context(name, list(arguments))
            return
        except Exception as error:
            if type(error).__name__ != "MissingParameter":
                raise
            given, missing = len(arguments), error.param  # type: ignore[attr-defined]
            arguments += [missing.opts[0], "x"] if missing.opts[0].startswith("-") else ["x"]
            assert given < len(arguments) < 40


PAGES = [
    page
    for page in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *DETAILS,
        *(ROOT / folder / "README.md" for folder in ("benchmarks", "data", "examples", "model_cards")),
        *(ROOT / "examples").glob("*.sh"),
        *(ROOT / "model_cards").glob("*.md"),
    )
    if any(commands(page.read_text()))
]


def test_commands_are_found() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {
        "README.md",
        "docs/evaluation.md",
        "docs/quickstart.md",
        "data/README.md",
        "examples/calibrate.sh",
    } <= names
    found = list(commands((ROOT / "docs" / "evaluation.md").read_text()))
    assert "evaluate ... --num-processes 4" in [command.strip() for command in found]
    assert sum(command.startswith("evaluate") for command in found) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_are_those_of_the_program(page: Path) -> None:
    found = [words for command in commands(page.read_text()) for words in variants(command)]
    assert found
    for words in found:
        check(words)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("classify VIDEO --model M --treshold 0.1", "[Nn]o such option"),
        ("clasify VIDEO", "there is no command clasify"),
        ("classify VIDEO --model M --threshold high", "valid number"),
        ("demo [--model vit|--size 3]", "[Nn]o such option"),
    ],
)
def test_wrong_commands_are_found(command: str, fault: str) -> None:
    with pytest.raises(Exception, match=fault):
        for words in variants(command):
            check(words)


def test_the_version_is_the_same_everywhere() -> None:
    own = hf_ttr.__version__
    assert re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1] == own  # type: ignore[index]
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == own  # type: ignore[index]
    first = re.search(r"^## \[(.*?)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first is not None and first[1] == own
    assert first[2] == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", first[2])


def test_the_citation_can_be_read() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "Apache-2.0" and (ROOT / "LICENSE").read_text().lstrip().startswith("Apache License")
    assert citation["authors"] == citation["preferred-citation"]["authors"] == [{"name": "The hf_ttr authors"}]
    assert citation["preferred-citation"]["type"] == "report"
