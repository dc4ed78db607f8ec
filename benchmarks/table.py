"""Tables, as Markdown and as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Table:
    """
    A table of text.

    Args:
        header: of the columns.
        rows: of cells, as many as columns.
    """

    header: Iterable[str]
    rows: Iterable[Iterable[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.header = list(self.header)
        self.rows = [list(row) for row in self.rows]

    def markdown(self) -> str:
        """The table in Markdown."""

        def line(cells: Iterable[str]) -> str:
            return "| " + " | ".join(cells) + " |"

        rule = "|" + "---|" * len(list(self.header))
        return "\n".join([line(self.header), rule, *map(line, self.rows)])

    def latex(self) -> str:
        """The table as a `tabular` with the rules of the package booktabs."""

        def line(cells: Iterable[str]) -> str:
            return " & ".join(map(escaped, cells)) + r" \\"

        columns = "l" + "r" * (len(list(self.header)) - 1)
        return "\n".join(
            [
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                line(self.header),
                r"\midrule",
                *(line(row) for row in self.rows),
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )


Block = list["str | Table"]
"""What stands between two markers of a document: paragraphs and tables."""


def as_markdown(block: Block) -> str:
    """Paragraphs and tables, empty lines between them."""
    return "\n\n".join(part.markdown() if isinstance(part, Table) else part for part in block)


def as_latex(block: Block) -> str:
    """The tables of a block, each under its last paragraph as a comment."""
    lines, caption = ["% Made by `python -m benchmarks report`; needs \\usepackage{booktabs}."], ""
    for part in block:
        if isinstance(part, Table):
            lines += ["", *([f"% {caption}"] if caption else []), part.latex()]
            caption = ""
        elif part.startswith("**"):  # Of the whole block.
            lines += ["", f"% {part.strip('*')}"]
        elif not part.startswith(("#", "!")):
            caption = " ".join(part.split())
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text in which LaTeX reads no command; emphasis of Markdown is kept."""
    bold = text.startswith("**") and text.endswith("**") and len(text) > 4
    text = text[2:-2] if bold else text
    text = "".join(
        {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}.get(
            letter, "\\" + letter if letter in "&%$#_{}" else letter
        )
        for letter in text
    )
    return rf"\textbf{{{text}}}" if bold else text
