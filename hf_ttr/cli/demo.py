"""`hf-ttr demo`: what reuse does, on the model and the clip that come with the package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from ..display import shown
from ..examples import example
from .errors import InputError, ends_quietly, sentence
from .options import Overwrite


# For each kind of model its example, and the clip for it.
DEMOS = {"vit": ("vit-demo", "demo.mp4"), "videomae": ("videomae-demo", "motion-demo.mp4")}


@ends_quietly
def demo(
    model: Annotated[str, typer.Option(metavar=f"[{'|'.join(DEMOS)}]", help="Which kind of model to show.")] = "vit",
    out: Annotated[str, typer.Option(metavar="FILE.png", help="Where to write the picture.")] = "demo_reuse.png",
    overwrite: Overwrite = False,
) -> None:
    """Classify a short clip dense and with reuse, and draw what was computed. Needs no network and no GPU."""
    if model not in DEMOS:
        raise InputError(f"--model is '{model}', but must be one of {', '.join(DEMOS)}.")
    try:
        folder, clip = map(example, DEMOS[model])
    except FileNotFoundError as error:
        raise InputError(sentence(error)) from error

    from .comparison import Pipelines, check_picture_path, compare
    from .report import print_comparison, print_windows, progress_on_stderr

    check_picture_path(out, "--out", overwrite)
    with progress_on_stderr() as progress:
        pipelines = Pipelines.load(folder, {}, with_maps=True, device="cpu", progress=progress)
        result = compare(clip, pipelines, with_maps=True, is_timed=True, progress=progress)
        result.save_picture(out)
        windows = None if result.tubelet_size is None else list(_windows(pipelines.reuse, clip))
    print_comparison(result, top_k=3)
    if windows is not None:
        typer.echo("\nThe clip as a stream, window by window, each reusing what the one before left:\n")
        print_windows(windows)
    typer.echo(f"\nWhich patches were computed in which frame: {shown(out)}")


def _windows(pipe: Any, clip: str) -> Iterator[tuple[str, str, float, float]]:
    """What `print_windows` prints, of windows that follow each other to the end of a clip."""
    import torch

    length = pipe.model.config.num_frames
    pixels = pipe.video_processor(clip, do_sample_frames=False, return_tensors="pt").pixel_values
    cache = None
    for start in range(0, pixels.shape[1] - length + 1, length):
        with torch.inference_mode():
            output = pipe.model(pixels[:, start : start + length], past_key_values=cache, stride=length)
        cache = output.past_key_values
        report, label = output.reuse, pipe.model.config.id2label[output.logits.argmax().item()]
        ratio = (report.dense_multiply_adds / report.multiply_adds).item()
        yield f"frames {start} to {start + length - 1}", label, report.computed_share.item(), ratio
