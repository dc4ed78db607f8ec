"""Writes what LaTeX needs: the numbers that a document asks for, tables, figures, and a stamp of all sources."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from ..store import ResultError, Results
from .figures import draw_figures
from .numbers import numbers
from .tables import tables


DOCUMENTS = {"report": "docs/report/report.tex", "poster": "docs/poster/poster.tex"}
"""By the target of the Makefile, from the root of the repository."""
SHARED = ("data_flow.tex", "results.sty")
"""Sources of the report that the poster uses, too."""


def write_paper(results: Results, root: Path, out: Path) -> list[Path]:
    """
    Writes `numbers.tex`, `tables/*.tex`, `stamp_*.tex` and `figures/*`.

    Args:
        results: the measured.
        root: of the repository, with the documents.
        out: the folder to write to.

    Returns:
        The files.

    Raises:
        ResultError: if a document asks for a number that does not exist.
    """
    texts = generated(results, root)
    texts |= {f"stamp_{name}.tex": rf"\def\sourcestamp{{{stamp(root, name, texts)}}}" + "\n" for name in DOCUMENTS}
    written = []
    for name, text in texts.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        written.append(path)
    return written + draw_figures(results, out / "figures")


def generated(results: Results, root: Path) -> dict[str, str]:
    """The texts that are made of the results, by file name: the numbers that are asked for, and the tables."""
    known = numbers(results)
    asked = {name for document in DOCUMENTS for name in asked_for(sources(root, document))}
    missing = sorted(asked - known.keys())
    if missing:
        raise ResultError(
            f"a document asks for {', '.join(missing)}, but {results.path} has no such number; measure the part, or "
            "correct the name."
        )
    lines = [rf"\expandafter\def\csname result@{name}\endcsname{{{known[name]}}}" for name in sorted(asked)]
    header = "% Made by `python -m benchmarks paper`.\n"
    found = {"numbers.tex": header + "\n".join(lines) + "\n"}
    return found | {f"tables/{name}.tex": header + text for name, text in tables(results).items()}


def stale(results: Results, root: Path) -> list[str]:
    """The PDFs that are not of their present sources and these results, a sentence for each."""
    try:
        texts = generated(results, root)
    except ResultError as error:
        return [str(error)]
    places = []
    for name, source in DOCUMENTS.items():
        pdf = (root / source).with_suffix(".pdf")
        found = re.search(rb"sources(?: |\\040)([0-9a-f]{16})", pdf.read_bytes() if pdf.exists() else b"")
        if found is None or found.group(1).decode() != stamp(root, name, texts):
            places.append(f"{pdf.relative_to(root)} is not of its present sources and these results; run make {name}")
    return places


def sources(root: Path, document: str) -> list[Path]:
    """The sources of a document: everything that TeX reads from its folder, and the figures that both share."""
    folder = (root / DOCUMENTS[document]).parent
    found = [path for ending in ("*.tex", "*.bib", "*.sty") for path in folder.glob(ending)]
    shared = [root / "docs" / "report" / name for name in SHARED]
    return sorted({*found, *(path for path in shared if path.exists())})


def asked_for(paths: Iterable[Path]) -> set[str]:
    """The names in `\\result{...}`, and those of claims and their intervals."""
    found = set()
    for path in paths:
        text = re.sub(r"(?<!\\)%.*", "", path.read_text())
        found |= set(re.findall(r"\\result\{([^}#]+)\}", text))
        found |= {f"{kind}/{name}" for kind, name in re.findall(r"\\(claim|interval)\{([^}#]+)\}", text)}
    return found


def stamp(root: Path, document: str, texts: dict[str, str]) -> str:
    """
    A digest of a document's sources, of what is made for it and of how its figures are drawn. Its PDF carries it as a
    keyword, so that a PDF that is older than its sources or the results is noticed without TeX.
    """
    digest = hashlib.sha256((Path(__file__).parent / "figures.py").read_bytes())
    for path in sources(root, document):
        digest.update(path.read_bytes())
    wanted = asked_for(sources(root, document))
    lines = [line for line in texts["numbers.tex"].splitlines() if any(f"@{name}\\end" in line for name in wanted)]
    digest.update("\n".join(lines).encode())
    used = "".join(path.read_text() for path in sources(root, document) if path.suffix == ".tex")
    for name in sorted(texts):
        if name.startswith("tables/") and name.removesuffix(".tex") in used:
            digest.update(texts[name].encode())
    return digest.hexdigest()[:16]
