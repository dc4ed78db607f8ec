"""
Files of the whole repository on the site, and Python sessions as such.

The pages link to files all over the repository, as one sees them on GitHub; the site takes these files in.

What a page links to outside this folder is put under `repository/`: Markdown as a page, anything else as it is. The
links are rewritten. Links to folders become their text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page


FENCE = re.compile(r"^(?P<fence> *(?:```|~~~)).*?^(?P=fence)[^\n]*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?P<before>\[(?P<text>(?:!\[[^]]*\]\([^)]*\)|[^][]|\[[^]]*\])*)\]\()(?P<target>[^)\s]+)\)")
SESSION = re.compile(r"^( *(?:```|~~~))(?:python|py)(\n\s*>>> )", re.MULTILINE)
OUTSIDE = "repository"
# Pages that no page has to link to.
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "data/README.md", "examples/README.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files that pages link to."""
    root = Path(config.config_file_path).parent
    waiting = [Path(page.abs_src_path) for page in files.documentation_pages() if page.abs_src_path]
    waiting += [root / name for name in ALWAYS if (root / name).is_file()]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        is_page = Path(config.docs_dir) in path.parents
        # Of this folder, what the site leaves out leads nowhere either.
        if path in seen or (is_page and files.get_file_from_path(_place(path, config)) is None):
            continue
        seen.add(path)
        if not is_page:
            place = _place(path, config)
            files.append(File.generated(config, place, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
        if path.suffix == ".md":
            targets = (_resolve(path, target) for target in _targets(path.read_text(encoding="utf-8")))
            waiting += [target for target in targets if target.is_file() and root in target.parents]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lets links lead to where the files are in the site."""
    source = page.file
    if source.abs_src_path is None:
        return markdown
    path = Path(source.abs_src_path)

    def moved(match: re.Match[str]) -> str:
        target, _, heading = match["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        found = _resolve(path, target)
        if found.is_dir() or (found.exists() and files.get_file_from_path(_place(found, config)) is None):
            return match["text"]
        place = os.path.relpath(_place(found, config), os.path.dirname(source.src_uri) or ".")
        return f"{match['before']}{Path(place).as_posix()}{'#' if heading else ''}{heading})"

    return as_sessions(_outside_fences(markdown, lambda text: LINK.sub(moved, text)))


def as_sessions(markdown: str) -> str:
    """Code with prompts as a session of Python, in which prompts, code and outputs are told apart."""
    return SESSION.sub(r"\1pycon\2", markdown)


def _place(path: Path, config: MkDocsConfig) -> str:
    """Where a file of the repository is among those of the site."""
    docs = Path(config.docs_dir)
    if docs in path.parents:
        return path.relative_to(docs).as_posix()
    return f"{OUTSIDE}/{path.relative_to(docs.parent).as_posix()}"


def _resolve(page: Path, target: str) -> Path:
    return Path(os.path.normpath(page.parent / target.partition("#")[0]))


def _targets(markdown: str) -> list[str]:
    found: list[str] = []
    _outside_fences(markdown, lambda text: str(found.extend(match["target"] for match in LINK.finditer(text))))
    return [target for target in found if not re.match(r"[a-z]+:|#", target)]


def _outside_fences(markdown: str, change: Callable[[str], str]) -> str:
    """Applies a change to what is not in a block of code."""
    parts, start = [], 0
    for match in FENCE.finditer(markdown):
        parts += [change(markdown[start : match.start()]), match[0]]
        start = match.end()
    return "".join([*parts, change(markdown[start:])])
