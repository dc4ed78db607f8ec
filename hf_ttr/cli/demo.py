"""`hf-ttr demo`: what reuse does, on the model and the clip that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from .errors import InputError, ends_quietly


ASSETS = Path(str(resources.files("hf_ttr"))) / "assets"
MODEL, CLIP = "vit-demo", "demo.mp4"


@ends_quietly
def demo(
    out: Annotated[str, typer.Option(metavar="FILE.png", help="Where to write the picture.")] = "demo_reuse.png",
) -> None:
    """Classify a short clip dense and with reuse, and draw what was computed. Needs no network and no GPU."""
    from .comparison import check_picture_path, compare
    from .report import print_comparison, progress_on_stderr

    check_picture_path(out)
    for name in (MODEL, CLIP):
        if not (ASSETS / name).exists():
            raise InputError(f"The demo's '{ASSETS / name}' is missing; install hf-ttr anew.")
    with progress_on_stderr() as progress:
        result = compare(
            str(ASSETS / CLIP),
            str(ASSETS / MODEL),
            {},
            with_picture=True,
            device="cpu",
            runs=5,
            progress=progress,
        )
        result.save_picture(out)
    result.video, result.model = CLIP, MODEL
    print_comparison(result, top_k=3)
    typer.echo(f"\nWhich patches were computed in which frame: {out}")
