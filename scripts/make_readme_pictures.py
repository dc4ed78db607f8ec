"""Makes the pictures of README.md out of what the commands print and draw, on what ships with the package.

`docs/images/classify.svg`, `stream.svg` and `demo_reuse.webp`; needs no network. Times in them are of the machine that
made them.
"""

from __future__ import annotations

import contextlib
import http.server
import io
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import PIL.Image  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.terminal_theme import DEFAULT_TERMINAL_THEME  # noqa: E402
from rich.text import Text  # noqa: E402
from transformers import pipeline  # noqa: E402

import hf_ttr  # noqa: E402
from hf_ttr.cli.stream_table import StreamTable  # noqa: E402
from hf_ttr.examples import with_examples  # noqa: E402
from hf_ttr.video import read_frames  # noqa: E402


IMAGES = ROOT / "docs" / "images"
COLUMNS = 84
CLASSIFY = "classify example:demo.mp4 --model example:vit-demo --top-k 2 --timing"
PORT, SECONDS = 8085, 8
SOURCES = {
    "clip": "example:demo.mp4",
    "gate": f"http://127.0.0.1:{PORT}/camera",
    "yard": "rtsp://127.0.0.1:9/live",
}
EVERY, WIDTH, PAUSE = 2, 640, 120
"""Of the animation: every how many frames, the width in pixels, milliseconds for each."""


def terminal(command: str, what: Any, name: str) -> None:
    """Writes what a command printed, as it looks in a terminal."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text(f"$ hf-ttr {command}\n", "bold"))
    console.print(what)
    # A name of its own, or two such pictures in a page share their styles.
    svg = console.export_svg(title="hf-ttr", theme=DEFAULT_TERMINAL_THEME, unique_id=name)
    (IMAGES / f"{name}.svg").write_text(svg, encoding="utf-8")


def classify() -> None:
    """What the command prints."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "hf_ttr", *CLASSIFY.split()]
    made = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT)
    terminal(CLASSIFY, Text.from_ansi(made.stdout.rstrip()), "classify")


class Camera(http.server.BaseHTTPRequestHandler):
    """A camera that sends pictures one after another, as many do: those of the clip that ships, again and again."""

    def do_GET(self) -> None:
        """Sends until nobody takes it."""
        frames, _ = read_frames(hf_ttr.example("demo.mp4"), lambda total: range(total))
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
        self.end_headers()
        with contextlib.suppress(OSError):
            for frame in itertools.cycle(frames):
                picture = io.BytesIO()
                PIL.Image.fromarray(frame).save(picture, "JPEG", quality=90)
                self.wfile.write(b"--next\r\nContent-Type: image/jpeg\r\n\r\n" + picture.getvalue() + b"\r\n")
                time.sleep(0.1)

    def log_message(self, *args: Any) -> None:
        """Says nothing."""


def stream() -> None:
    """The table of a file, of a camera, and of one that is off."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe = pipeline("video-classification-reuse", model=hf_ttr.example("vit-demo"))
    sources = {name: with_examples(source) for name, source in SOURCES.items()}
    with pipe.stream(sources) as streams:
        table = StreamTable(streams, Console(width=COLUMNS, file=io.StringIO(), force_terminal=True))
        started = time.monotonic()
        for result in streams:
            table.add(result)
            if time.monotonic() - started > SECONDS:
                break
        named = " ".join(f"{name}={source}" for name, source in SOURCES.items())
        terminal(f"stream {named} --model example:vit-demo", table.render(), "stream")
    server.shutdown()


def animation() -> None:
    """What `hf-ttr visualize` draws, smaller."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hf_ttr", "visualize", "example:demo.mp4", "--model", "example:vit-demo"]
        subprocess.run([*command, "--out", folder, "--gif"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        with PIL.Image.open(Path(folder) / "reuse.gif") as gif:
            height = gif.height * WIDTH // gif.width
            frames = []
            for number in range(0, gif.n_frames, EVERY):
                gif.seek(number)
                frames.append(gif.convert("RGB").resize((WIDTH, height), PIL.Image.Resampling.LANCZOS))
    first, *rest = frames
    options = {"save_all": True, "append_images": rest, "duration": PAUSE, "loop": 0, "quality": 70, "method": 6}
    first.save(IMAGES / "demo_reuse.webp", format="WEBP", **options)


if __name__ == "__main__":
    classify()
    stream()
    animation()
