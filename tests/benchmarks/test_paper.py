"""The numbers of the report and the poster are those of the results, and their PDFs are up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rates
from benchmarks.common import RESULTS, ROOT
from benchmarks.paper import build
from benchmarks.paper.build import DOCUMENTS, asked_for, generated, sources, stamp
from benchmarks.paper.numbers import divergence, numbers, percent, slug, times
from benchmarks.paper.tables import COMMANDS, commands, never_worse
from benchmarks.store import ResultError, Results


SOURCES = sorted({path for name in DOCUMENTS for path in sources(ROOT, name) if path.suffix == ".tex"})
WRAPPED = r"\\(?:result|claim|interval|cited|setting|cite[a-z]*|ref|label|input|bibliography|code)\{[^{}]*\}"
LENGTHS = (
    r"\d*\.?\d+\s*(?:em|mm|pt|cm|\\[a-z]*width)\b|pos=\.\d+"
    r"|\\renewcommand\{\\arraystretch\}\{[^{}]*\}|\\column\{[^{}]*\}"
)


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(RESULTS)


@pytest.fixture(scope="module")
def known(results: Results) -> dict[str, str]:
    return numbers(results)


@pytest.fixture(autouse=True)
def made_once(known: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All numbers take seconds."""
    monkeypatch.setattr(build, "numbers", lambda results: known)


def document(root: Path, text: str) -> Path:
    """A repository whose report is this text."""
    for name in DOCUMENTS.values():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_names_are_plain() -> None:
    assert slug("clip of 16 frames, 10% computed, with hf_ttr.optimize") == (
        "clip-of-16-frames-10-computed-with-hf-ttr.optimize"
    )


def test_numbers_are_written_as_latex() -> None:
    assert percent(0.2537) == r"25.4\%"
    assert percent(0.2537, 0) == r"25\%"
    assert times(3.805, 1) == r"3.8$\times$"
    assert [divergence(kl) for kl in (None, 0.00414, 0.0951, 0.3498)] == ["--", "0.0041", "0.0951", "0.350"]


def test_numbers_in_comments_are_not_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tex"
    path.write_text("\\result{one/2} 3\\% \\result{two} % \\result{three}\n\\newcommand{\\x}[1]{\\result{#1}}")
    assert asked_for([path]) == {"one/2", "two"}


def test_only_what_is_asked_for_is_written(tmp_path: Path, results: Results) -> None:
    root = document(tmp_path, "\\result{static/count}")
    part = results.part("vit")
    assert part is not None
    videos = {row["key"][3] for row in part["rows"] if row["key"][0] == "vit real"}
    lines = generated(results, root)["numbers.tex"].splitlines()[1:]
    assert lines == [rf"\expandafter\def\csname result@static/count\endcsname{{{len(videos)}}}"]


def test_unknown_number_is_named(tmp_path: Path, results: Results) -> None:
    with pytest.raises(ResultError, match="asks for static/nothing"):
        generated(results, document(tmp_path, "\\result{static/nothing} \\result{static/count}"))


def test_stamp_follows_sources_and_numbers(tmp_path: Path) -> None:
    root = document(tmp_path, "\\result{a} \\input{tables/used}")
    texts = {"numbers.tex": r"\csname result@a\endcsname{1}", "tables/used.tex": "2", "tables/other.tex": "3"}
    before = stamp(root, "report", texts)
    assert stamp(root, "report", {**texts, "tables/other.tex": "4"}) == before
    changed = [
        stamp(root, "report", {**texts, "tables/used.tex": "4"}),
        stamp(root, "report", {**texts, "numbers.tex": r"\csname result@a\endcsname{4}"}),
        stamp(document(tmp_path, "\\result{a} \\input{tables/used}."), "report", texts),
    ]
    assert len({before, *changed}) == 4


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_measurement_is_typed_by_hand(path: Path) -> None:
    text = re.sub(r"(?<!\\)%.*", "", path.read_text())
    text = text.split(r"\begin{document}")[-1]
    for pattern in (WRAPPED, LENGTHS, r"Apache-2\.0"):
        text = re.sub(pattern, "", text)
    assert re.findall(r".{0,20}(?:\d*\.\d+|\d\s*(?:\\,)?\s*\\%|\d\s*\$\\times).{0,20}", text) == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_pdf_is_of_the_present_sources_and_results(name: str, results: Results) -> None:
    pdf = (ROOT / DOCUMENTS[name]).with_suffix(".pdf")
    expected = stamp(ROOT, name, generated(results, ROOT))
    found = re.search(rb"sources(?: |\\040)([0-9a-f]{16})", pdf.read_bytes())
    assert found is not None and found.group(1).decode() == expected, f"run `make {name}`, and look at {pdf.name}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_pdf_names_no_folder(name: str) -> None:
    # pdfTeX would write where it found each figure.
    pdf = (ROOT / DOCUMENTS[name]).with_suffix(".pdf").read_bytes()
    assert re.findall(rb"/PTEX\.FileName \([^)]*\)", pdf) == []


def test_every_part_has_a_date(results: Results) -> None:
    rows = commands(results).split(r"\midrule")[1].splitlines()[1:-2]
    dates = [row.split("&")[3].strip() for row in rows]
    assert len(dates) == len(COMMANDS) and all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in dates)


def test_what_is_said_of_latency_and_memory_is_what_was_measured(results: Results, known: dict[str, str]) -> None:
    (latency,) = [row for row in results.part("latency")["rows"] if row["key"][1] == "causal"]
    others = sorted(latency["milliseconds"][1:])
    assert known["latency/causal/first"] == f"{latency['milliseconds'][0]:.0f}"
    assert known["latency/causal/largest"] == f"{others[-1]:.0f}"
    assert (
        others[55] <= float(known["latency/causal/p90"]) + 0.5
        and float(known["latency/causal/p90"]) - 0.5 <= others[57]
    )
    assert not any(name.endswith("p99") for name in known)
    (run,) = results.part("long_run")["rows"]
    memory = [period["resident_mib"] for period in run["periods"] if period["frames"] >= 1000]
    assert known["long-run/growth"] == f"{100 * (max(memory) / memory[0] - 1):.1f}\\%"


def test_the_documents_say_where_the_package_is() -> None:
    for name in DOCUMENTS.values():
        text = (ROOT / name).read_text()
        assert "hf-ttr" in text and "CITATION.cff" in text and not re.search(r"https?://|github\.com", text)


def test_the_code_of_the_poster_runs_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / DOCUMENTS["poster"]).read_text()
    lines = [line.replace(r"\_", "_") for line in re.findall(r"\\code\{((?:import|from|pipe)[^{}]*)\}", text)]
    assert len(lines) == 4 and "example" in lines[2]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec("\n".join([*lines[:-1], f"found = {lines[-1]}"]), names)
    assert names["found"][0]["label"] == "space shuttle"


def test_the_report_names_every_video_on_which_skipping_is_nearer(results: Results) -> None:
    part = results.part("rates")
    assert part is not None
    (_, found) = rates.never_worse(part)
    named = set(re.findall(r"([\w./-]+) \(\d", " ".join(row[-1] for row in found.rows)))
    table = never_worse(results).replace(r"\_", "_")
    assert named and set(re.findall(r"([\w./-]+) \([own\d]", table)) == named


def test_every_table_of_the_report_is_made(results: Results) -> None:
    text = "".join(path.read_text() for path in SOURCES)
    used = {f"tables/{name}.tex" for name in re.findall(r"\\input\{tables/(\w+)\}", text)}
    assert used == {name for name in generated(results, ROOT) if name.startswith("tables/")}
    assert build.DOCUMENTS.keys() == {"report", "poster"}
