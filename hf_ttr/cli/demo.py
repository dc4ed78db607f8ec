"""`hf-ttr demo`: what reuse does, on the model and the clip that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly
from .options import Overwrite


ASSETS = Path(str(resources.files("hf_ttr"))) / "assets"
# For each kind of model its folder, its clip, and the step between frames if it is not as the checkpoint says.
DEMOS: dict[str, tuple[str, str, int | None]] = {
    "vit": ("vit-demo", "demo.mp4", None),
    "videomae": ("videomae-demo", "motion-demo.mp4", 1),
}


@ends_quietly
def demo(
    model: Annotated[str, typer.Option(metavar=f"[{'|'.join(DEMOS)}]", help="Which kind of model to show.")] = "vit",
    out: Annotated[str, typer.Option(metavar="FILE.png", help="Where to write the picture.")] = "demo_reuse.png",
    overwrite: Overwrite = False,
) -> None:
    """Classify a short clip dense and with reuse, and draw what was computed. Needs no network and no GPU."""
    if model not in DEMOS:
        raise InputError(f"--model is '{model}', but must be one of {', '.join(DEMOS)}.")
    folder, clip, frame_sampling_rate = DEMOS[model]

    from .comparison import check_picture_path, compare
    from .report import print_comparison, progress_on_stderr

    check_picture_path(out, "--out", overwrite)
    for name in (folder, clip):
        if not (ASSETS / name).exists():
            raise InputError(f"The demo's '{ASSETS / name}' is missing; install hf-ttr anew.")
    with progress_on_stderr() as progress:
        result = compare(
            str(ASSETS / clip),
            str(ASSETS / folder),
            {},
            frame_sampling_rate=frame_sampling_rate,
            with_maps=True,
            device="cpu",
            runs=5,
            progress=progress,
        )
        result.save_picture(out)
    result.video, result.model = clip, folder
    print_comparison(result, top_k=3)
    typer.echo(f"\nWhich patches were computed in which frame: {shown(out)}")
