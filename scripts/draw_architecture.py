"""
Draws docs/images/architecture.svg, and fills the tables of modules in docs/architecture.md from their docstrings.

The picture is written as text, so that it is the same everywhere. Run it anew after a module came, went or changed
what it is for; tests/test_architecture.py compares.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path


ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "images" / "architecture.svg"
TABLE = re.compile(r"(<!-- modules: (?P<names>[^>]*) -->\n).*?(<!-- /modules -->)", re.DOTALL)
WIDTH, HEIGHT, LINE = 960, 905, 18
LEFT, MIDDLE, RIGHT = 15, 340, 665
STEP, STATE, SIDE = "#dbe9f6", "#e3f1dc", "#f3f3f3"


@dataclass(frozen=True)
class Box:
    """A step, or what it works with: where it is, what happens there, and the modules that do it."""

    x: int
    y: int
    title: str
    says: str
    modules: tuple[str, ...]
    colour: str = STEP
    width: int = 280

    @property
    def height(self) -> int:
        """With a line for the title, one for what it says, and one for each module."""
        return 16 + LINE * (2 + len(self.modules))

    def svg(self) -> str:
        """The box and its text."""
        lines = [("title", self.title), ("says", self.says), *(("module", name) for name in self.modules)]
        text = "".join(
            f'<text class="{kind}" x="{self.x + 12}" y="{self.y + 22 + LINE * number}">{escape(line)}</text>\n'
            for number, (kind, line) in enumerate(lines)
        )
        return (
            f'<rect x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="6" '
            f'fill="{self.colour}" stroke="#666"/>\n{text}'
        )


PIXELS = Box(MIDDLE, 100, "pixels", "frames, resized and scaled", ("video", "video.processing"))
EMBEDDINGS = Box(
    MIDDLE, 215, "embeddings", "of all patches, by the parent's code", ("models.frame_model", "models.window_model")
)
PLAN = Box(
    MIDDLE,
    330,
    "plan",
    "computed, or made of which tokens",
    ("planning.planner", "planning.causal", "planning.bidirectional", "planning.window_planner", "planning.runs"),
)
ROWS = Box(
    MIDDLE,
    499,
    "packed rows",
    "computed tokens, one matrix",
    ("execution.packed", "execution.compact", "execution.kernels"),
)
LAYERS = Box(
    MIDDLE,
    632,
    "layers",
    "the parent's, on packed rows",
    ("models.attending", "execution.linear", "execution.packed_weights"),
)
OUTPUTS = Box(
    MIDDLE,
    783,
    "outputs",
    "logits, cache, what it cost",
    ("modeling_outputs", "execution.flops", "execution.token_maps"),
)
CALLERS = Box(
    LEFT,
    15,
    "callers",
    "hold a model, and hand it clips or the next frames of streams with their caches: "
    "streaming, pipeline, evaluation, cli",
    (),
    SIDE,
    WIDTH - 2 * LEFT,
)
SETTINGS = Box(LEFT, 330, "settings", "threshold, budget, mode", ("configuration",), SIDE)
REDUCTION = Box(
    LEFT,
    632,
    "reduction",
    "merges rows, or leaves some out",
    ("reduction.base", "reduction.row_reduction", "reduction.frame_merging"),
    SIDE,
)
MEMORY = Box(
    RIGHT,
    330,
    "state of the planner",
    "what each position was computed from",
    ("planning.stream_state", "planning.window_state"),
    STATE,
)
CACHE = Box(
    RIGHT,
    632,
    "cache",
    "keys and values of every position",
    ("caching.cache", "caching.window_cache", "caching.snapshot"),
    STATE,
)
READERS = Box(RIGHT, 783, "readers", "look at results alone", ("visualization", "metrics", "cards.model_card"), SIDE)
BOXES = (CALLERS, PIXELS, EMBEDDINGS, PLAN, ROWS, LAYERS, OUTPUTS, SETTINGS, REDUCTION, MEMORY, CACHE, READERS)


def picture() -> str:
    """The picture as SVG."""
    steps = (CALLERS, PIXELS, EMBEDDINGS, PLAN, ROWS, LAYERS, OUTPUTS)
    middle = MIDDLE + PIXELS.width // 2
    arrows = [_arrow(middle, above.y + above.height, middle, below.y) for above, below in zip(steps, steps[1:])]
    for side, step, both in (
        (SETTINGS, PLAN, False),
        (REDUCTION, LAYERS, False),
        (MEMORY, PLAN, True),
        (CACHE, LAYERS, True),
        (READERS, OUTPUTS, False),
    ):
        ends = (side.x + side.width, step.x) if side.x < step.x else (side.x, step.x + step.width)
        start, end = ends if side is not READERS else ends[::-1]
        arrows.append(_arrow(start, side.y + 40, end, side.y + 40, both))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" aria-label="From pixels to outputs, and the modules on the way">',
            "<style>text{font-family:DejaVu Sans,Verdana,Arial,sans-serif;font-size:13px;fill:#222}"
            ".title{font-weight:bold}.module{font-family:DejaVu Sans Mono,Menlo,Consolas,monospace;font-size:12px}"
            "</style>",
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="#444"/></marker></defs>',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            *arrows,
            *(box.svg() for box in BOXES),
            "</svg>\n",
        ]
    )


def filled(page: str) -> str:
    """The page, with tables of what each module is for."""

    def table(match: re.Match[str]) -> str:
        rows = "".join(f"| `{name}` | {purpose(name)} |\n" for name in match["names"].split())
        return f"{match[1]}\n| module | what |\n|---|---|\n{rows}\n{match[3]}"

    return TABLE.sub(table, page)


def purpose(module: str) -> str:
    """The first sentence of a module's docstring."""
    path = ROOT / "hf_ttr" / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text is not None, f"{path} has no docstring"
    return text.split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _arrow(x: int, y: int, to_x: int, to_y: int, both: bool = False) -> str:
    start = ' marker-start="url(#head)"' if both else ""
    return f'<path d="M{x} {y} {to_x} {to_y}" stroke="#444" marker-end="url(#head)"{start}/>'


def main() -> None:
    """Writes both files."""
    PICTURE.write_text(picture(), encoding="utf-8")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
