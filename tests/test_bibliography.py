"""The bibliography of the report: that it parses, that entries hold what a reference needs, and that all are cited."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parent.parent
BIBLIOGRAPHY = ROOT / "docs" / "report" / "references.bib"
REPORT = BIBLIOGRAPHY.with_name("report.tex")
# The report, what it includes, and the poster.
DOCUMENTS = sorted((ROOT / "docs").rglob("*.tex"))

# Settings of the style, which BibTeX reads as an entry.
SETTINGS = "ieeetranbstctl"
# Where a work can be found; a patent has its number instead.
PLACES = {"booktitle", "journal", "howpublished", "note"}


@dataclass
class Entry:
    """An entry: its type, its key and its fields."""

    kind: str
    key: str
    fields: dict[str, str]


def closing(text: str, opening: int) -> int:
    """The position of the brace that closes the one at `opening`."""
    depth = 0
    for position in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    raise ValueError(f"a brace is not closed: {text[opening : opening + 40]!r}")


def parse_fields(text: str) -> dict[str, str]:
    """Fields `name = {value}` or `name = word`, a comma between them."""
    fields: dict[str, str] = {}
    rest = text.strip()
    while rest:
        start = re.match(r"(\w+)\s*=\s*(?=[{\w])", rest)
        if start is None:
            raise ValueError(f"not a field: {rest[:40]!r}")
        name, begin = start[1].lower(), start.end()
        if name in fields:
            raise ValueError(f"the field {name!r} is given twice")
        if rest[begin] == "{":
            end = closing(rest, begin) + 1
            fields[name] = rest[begin + 1 : end - 1]
        else:
            end = begin + len(re.match(r"\w+", rest[begin:])[0])
            fields[name] = rest[begin:end]
        rest = rest[end:].lstrip()
        if rest and not rest.startswith(","):
            raise ValueError(f"no comma after the field {name!r}")
        rest = rest[1:].lstrip()
    return fields


def parse(text: str) -> list[Entry]:
    """All entries of a BibTeX file that holds nothing else."""
    entries = []
    position = 0
    while text[position:].strip():
        start = re.compile(r"\s*@(\w+)(\{)\s*([^\s,{}]+)\s*,").match(text, position)
        if start is None:
            raise ValueError(f"not an entry: {text[position : position + 40]!r}")
        end = closing(text, start.start(2))
        entries.append(Entry(start[1].lower(), start[3], parse_fields(text[start.end() : end])))
        position = end + 1
    return entries


def cited(text: str) -> set[str]:
    """The keys that a LaTeX document cites, comments left out."""
    text = re.sub(r"(?<!\\)%.*", "", text)
    groups = re.findall(r"\\(?:bstctl|no)?cite[pt]?\*?\s*(?:\[[^\]]*\]\s*)*\{([^}]*)\}", text)
    return {key.strip() for group in groups for key in group.split(",")}


ENTRIES = parse(BIBLIOGRAPHY.read_text(encoding="utf-8"))
WORKS = [entry for entry in ENTRIES if entry.kind != SETTINGS]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@misc{a, title = {One {two}", "not closed"),
        ("@misc{a, title = {One}} year", "not an entry"),
        ("@misc{title = {One}}", "not an entry"),
        ("@misc{a, title = {One} year = {2020}}", "no comma"),
        ("@misc{a, title {One}}", "not a field"),
        ("@misc{a, year = {2020}, year = {2021}}", "twice"),
    ],
)
def test_parser_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)


def test_parser_reads_fields() -> None:
    (entry,) = parse("@Misc{a,\n  title = {{ViT} {\\'e}},\n  month = nov,\n  year = 2020,\n}\n")
    assert entry == Entry("misc", "a", {"title": "{ViT} {\\'e}", "month": "nov", "year": "2020"})


def test_citations_are_found() -> None:
    text = "\\cite{a} \\cite[p.~3]{b, c}% \\cite{d}\n5\\% \\nocite{e} \\bstctlcite{f} \\citep*[see][]{g} \\cited{3.9}"
    assert cited(text) == {"a", "b", "c", "e", "f", "g"}


def test_keys_are_unique() -> None:
    # BibTeX takes keys that differ in case alone for the same.
    keys = [entry.key.lower() for entry in ENTRIES]
    assert WORKS
    assert sorted(keys) == sorted(set(keys))


@pytest.mark.parametrize("entry", WORKS, ids=lambda entry: entry.key)
def test_entry_is_complete(entry: Entry) -> None:
    assert all(value.strip() for value in entry.fields.values())
    assert {"author", "title", "year"} <= entry.fields.keys()
    assert re.fullmatch(r"(?:19|20)\d\d", entry.fields["year"])
    places = {"nationality", "number"} if entry.kind == "patent" else PLACES & entry.fields.keys()
    assert places and places <= entry.fields.keys()
    if "pages" in entry.fields:
        first, last = re.fullmatch(r"(\d+)--(\d+)", entry.fields["pages"]).groups()
        assert int(first) < int(last)
    if "arxiv" in entry.fields.get("note", "").lower():
        assert re.fullmatch(r"arXiv:\d{4}\.\d{4,5}", entry.fields["note"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_cited_keys_exist(document: Path) -> None:
    assert cited(document.read_text(encoding="utf-8")) <= {entry.key for entry in ENTRIES}


@pytest.mark.skipif(not REPORT.is_file(), reason="there is no report yet")
def test_every_entry_is_cited() -> None:
    keys = set().union(*(cited(document.read_text(encoding="utf-8")) for document in DOCUMENTS))
    assert {entry.key for entry in ENTRIES} <= keys
