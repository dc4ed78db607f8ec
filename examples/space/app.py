"""A Gradio app that shows what temporal token reuse does to a clip: labels, time, and which patches were computed."""

import contextlib
import copy
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig

import hf_ttr
from hf_ttr.answers.scores import score_kind, to_scores
from hf_ttr.display import shown
from hf_ttr.video import VideoDecodingError, VideoLimits, read_frames
from hf_ttr.visualization import reuse_video


ASSETS = Path(str(resources.files("hf_ttr"))) / "assets"
MODEL = os.environ.get("MODEL", str(ASSETS / "vit-demo"))
NUM_FRAMES = int(os.environ.get("NUM_FRAMES", "32"))
RUNS = 2
# What a stranger may ask for: bytes of an upload, clips at a time and in the queue; and how long a clip is kept.
LIMITS = VideoLimits(pixels=4096 * 2304, frames=20_000)
LARGEST_UPLOAD = int(os.environ.get("LARGEST_UPLOAD", str(32 << 20)))
AT_ONCE, WAITING = 1, 16
KEPT_SECONDS = 900
THRESHOLD = 0.1
CLIPS = [str(ASSETS / name) for name in ("demo.mp4", "motion-demo.mp4")]
CLASSES = {
    "vit": hf_ttr.TemporalReuseViTForVideoClassification,
    "videomae": hf_ttr.TemporalReuseVideoMAEForVideoClassification,
}


@dataclass
class Answer:
    """
    What the app shows of a clip.

    Attributes:
        dense, reuse: scores by label.
        dense_seconds, reuse_seconds: of processor time, of the model, in the faster of two runs.
        computed_share: share of the tokens that were computed.
        multiply_add_ratio: how many times fewer multiply-adds reuse took.
        overlay: path of the video of the frames beside what was computed of them.
    """

    dense: dict[str, float]
    reuse: dict[str, float]
    dense_seconds: float
    reuse_seconds: float
    computed_share: float
    multiply_add_ratio: float
    overlay: str

    @property
    def summary(self) -> str:
        """What it cost, in a sentence or two."""
        return (
            f"{self.computed_share:.0%} of the tokens computed, {self.multiply_add_ratio:.1f}x fewer multiply-adds. "
            f"The model took {1000 * self.dense_seconds:.0f} ms of processor time dense and "
            f"{1000 * self.reuse_seconds:.0f} ms with reuse, {self.dense_seconds / self.reuse_seconds:.1f}x less."
        )


@lru_cache(maxsize=1)
def load(name: str) -> tuple[Any, Any]:
    """Model and processor of a checkpoint, plain or with reuse."""
    model_type = PretrainedConfig.get_config_dict(name)[0]["model_type"].removeprefix("temporal_reuse_")
    model = CLASSES[model_type].from_pretrained(name, dtype=torch.float32).eval()
    return model, hf_ttr.TemporalReuseVideoProcessor.from_pretrained(name)


@torch.inference_mode()
def classify(video: str, threshold: float, folder: str, name: str = MODEL) -> Answer:
    """
    Runs a clip dense and with reuse.

    Args:
        video: path of the clip.
        threshold (`float`): of reuse; 0 computes everything.
        folder: for the video that is drawn.
        name: folder or Hub id of the model.

    Raises:
        VideoDecodingError: if the clip is too large, or cannot be read.
    """
    if os.path.getsize(video) > LARGEST_UPLOAD:
        raise VideoDecodingError(
            f"the clip has {os.path.getsize(video) / 2**20:.0f} MiB, and at most {LARGEST_UPLOAD / 2**20:.0f} are "
            "taken here; upload a shorter one."
        )
    # One frame is decoded, and the others are counted, before more is made of it.
    read_frames(video, lambda total: [0], limits=LIMITS)
    model, processor = load(name)
    window = model.config.window_frames
    frames = window or NUM_FRAMES
    # Frames that follow each other, as those of a stream do.
    pixels = processor(video, num_frames=frames, frame_sampling_rate=1, return_tensors="pt").pixel_values
    settings = copy.copy(model.config.temporal_reuse)
    settings.threshold, settings.compute_budget = threshold, None
    maps = model(pixels, temporal_reuse=settings, output_token_maps=True).reuse.maps.stream(0)
    dense_seconds, dense, reuse_seconds, reuse = [], None, [], None
    for _ in range(RUNS):
        dense = timed(model, pixels, dense_seconds, temporal_reuse={"mode": "off"})
        reuse = timed(model, pixels, reuse_seconds, temporal_reuse=settings)
    mean, spread = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    pictures = (pixels[0] * spread + mean).clamp(0, 1)
    overlay = os.path.join(folder, "reuse.mp4")
    reuse_video(
        pictures[:: model.config.tubelet_size if window else 1],
        maps,
        overlay,
        fps=8,
        prefix_tokens=0 if window else 1,
    )
    report = reuse.reuse
    return Answer(
        scores(model, dense.logits[0]),
        scores(model, reuse.logits[0]),
        min(dense_seconds),
        min(reuse_seconds),
        report.computed_share.item(),
        (report.dense_multiply_adds / report.multiply_adds).item(),
        overlay,
    )


def timed(model: Any, pixels: torch.Tensor, seconds: list[float], **options: Any) -> Any:
    """What a call gives; the time that it took is added to `seconds`."""
    # Processor time, as others may be at work on the machine of a Space.
    start = time.process_time()
    output = model(pixels, **options)
    seconds.append(time.process_time() - start)
    return output


def scores(model: Any, logits: torch.Tensor) -> dict[str, float]:
    """Scores by label, as the model was trained for."""
    values = to_scores(logits, score_kind(model.config.problem_type)).tolist()
    return {shown(model.config.id2label[number]): score for number, score in enumerate(values)}


@contextlib.contextmanager
def one_folder() -> Iterator[str]:
    """A folder for one click, which is gone once gradio has taken its copy."""
    with tempfile.TemporaryDirectory(prefix="hf-ttr-space-") as folder:
        yield folder


def sentence(error: Exception, video: str) -> str:
    """What is wrong with a clip, by the name that the user gave it, and without where it lies on this machine."""
    text = str(error).replace(os.path.join(os.path.dirname(video), ""), "")
    return shown(text[:1].upper() + text[1:], None)


def build() -> Any:
    """The page, with what comes of the first clip."""
    import gradio as gr

    def show(video: str | None, threshold: float) -> Iterator[tuple[Any, ...]]:
        if video is None:
            raise gr.Error("Pick a clip, or upload one.")
        with one_folder() as folder:
            try:
                answer = classify(video, threshold, folder)
            except VideoDecodingError as error:
                raise gr.Error(sentence(error, video)) from None
            # gradio copies the file as it is handed over; the folder goes after that.
            yield answer.dense, answer.reuse, answer.summary, answer.overlay

    # gradio copies what a part begins with as it is made.
    with one_folder() as folder, gr.Blocks(title="Temporal token reuse", delete_cache=(60, KEPT_SECONDS)) as page:
        first = classify(CLIPS[0], THRESHOLD, folder)
        gr.Markdown("# Temporal token reuse\nA video transformer that computes only the patches that change.")
        with gr.Row():
            with gr.Column():
                video = gr.Video(CLIPS[0], label="Clip", sources=["upload"], height=320, elem_id="clip")
                threshold = gr.Slider(0, 1, THRESHOLD, step=0.01, label="Threshold: 0 computes everything")
                button = gr.Button("Classify", variant="primary", elem_id="classify")
                gr.Examples([[clip] for clip in CLIPS], video, api_visibility="private")
            with gr.Column():
                with gr.Row():
                    dense = gr.Label(first.dense, label="Dense", num_top_classes=3, elem_id="dense")
                    reuse = gr.Label(first.reuse, label="With reuse", num_top_classes=3, elem_id="reuse")
                summary = gr.Markdown(first.summary, label="Cost", elem_id="summary")
                overlay = gr.Video(
                    first.overlay,
                    label="What was computed",
                    show_label=False,
                    autoplay=True,
                    loop=True,
                    height=320,
                    elem_id="overlay",
                )
        call = {"fn": show, "inputs": [video, threshold], "outputs": [dense, reuse, summary, overlay]}
        # Both share a place: a clip at a time, whatever is clicked.
        place = {"concurrency_limit": AT_ONCE, "concurrency_id": "classify"}
        button.click(
            **call,
            **place,
            api_name="classify",
            api_description="The labels of a clip, dense and with reuse, what they cost, and what was computed.",
        )
        threshold.release(**call, **place, api_visibility="private")
    return page.queue(max_size=WAITING)


if __name__ == "__main__":
    build().launch(allowed_paths=[str(ASSETS)], max_file_size=LARGEST_UPLOAD)
