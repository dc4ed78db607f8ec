"""Fidelity against cost: every method at every setting, on real videos, labelled clips and what ships."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import VideoMAEForVideoClassification, ViTForImageClassification

import hf_ttr

from .common import ROOT, MissingData, real_data, spread_frames
from .measures import Clip, Reference, measure
from .methods.base import Method, StreamMethod
from .runner import Cell, Part


FRAMES, QUICK_FRAMES = 300, 32
MOVING_FRAMES = 50
"""Of the other videos: of a moving camera little is reused, and a few frames show it."""
CLIP_FRAMES = 16
FIGHT_CLIPS = 14
"""Clips, evenly spread, for the methods that run frame by frame; those for VideoMAE see all."""
MOTION_CLIPS, MOTION_SEED = 360, 1
"""Not the seed of the clips that the model was accepted on."""
OURS = ("bidirectional", "budget", "look_ahead", "causal", "reuse", "reuse_tome", "reuse_vidtome", "reuse_pruning")
SKIPPING = ("skip_interpolate", "skip_hold")
STRONGEST = (
    "eventful_tokenwise",
    "eventful_tokenwise_cls",
    "eventful_tokenwise_threshold",
    "eventful_full_threshold",
    "stgt_cls",
    "stc",
)
"""Other methods that come near ours: measured at as many settings, as a coarser curve would be held against them."""
STATIC = ("car-detection.mp4", "bottle-detection.mp4", "asl/book.mkv", "vehicle_survaillance.mp4")
OTHERS = (
    "video.avi",
    "yoga.mp4",
    "demo_skeleton.mp4",
    "asl/again.mkv",
    "asl/bird.mkv",
    "webcam_fall_02.mp4",
    "webcam_fall_19.mp4",
    "webcam_fall_20.mp4",
)
"""Static cameras beyond the four: an easy street, signers, noisy sensors, a large actor."""
FRAME_RATES = "12.5 to 30"
"""Frames a second of the videos of static cameras, as their files say; all frames are looked at."""
ACROSS_FRAMES = ("vidtome", "reuse_vidtome")
BESIDE_ACROSS_FRAMES = ("dense", "bidirectional", "tome")
MERGED_FRAMES = 96
"""Merging across frames has a part of its own, with what it is to be compared with, on shorter videos."""
Methods = dict[str, type[Method]]


def vit_methods() -> Methods:
    """The methods for models of frames."""
    from .methods import VIT

    return dict(VIT)


def swept_methods() -> Methods:
    """Those of `vit_methods` that are measured on everything."""
    return {key: method for key, method in vit_methods().items() if key not in ACROSS_FRAMES}


def across_frames_methods() -> Methods:
    """Merging across frames, alone and with reuse, and what it is compared with."""
    methods = vit_methods()
    return {key: methods[key] for key in (*BESIDE_ACROSS_FRAMES, *ACROSS_FRAMES)}


def videomae_methods() -> Methods:
    """The methods for models of clips."""
    from .methods import VIDEOMAE

    return dict(VIDEOMAE)


def described(methods: Methods) -> dict[str, Any]:
    """What the report says of each method."""
    return {
        key: {
            "title": method.title,
            "paper": method.paper,
            "knob": method.knob,
            "stream": issubclass(method, StreamMethod),
            "ours": key in OURS,
        }
        for key, method in methods.items()
    }


def videos(folder: Path) -> dict[str, list[str]]:
    """Names of the real videos: of static cameras, and the others (a moving camera; two that hardly change)."""
    found = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.*"))]
    static = {*STATIC, *OTHERS, *(name for name in found if name.startswith("asl/"))}
    return {
        "real": [name for name in found if name in static],
        "moving": [name for name in found if name not in static],
    }


def sweep_cells(
    model_name: str,
    name: str,
    subjects: Sequence[str],
    methods: Methods,
    reference: Callable[[str], tuple[Any, Reference]],
    quick: bool,
    thin: Collection[str] = (),
    **settings: Any,
) -> Iterator[Cell]:
    """
    A cell for every subject, method and setting.

    Args:
        model_name, name: first field of the keys: the model, and the set of subjects.
        subjects: what is measured, one video or one set of clips each.
        methods: the methods.
        reference: model and dense results of a subject.
        quick: two settings of each method.
        thin: methods of which only every second setting is measured.
        settings: what else the results depend on.
    """

    def cell(subject: str, key: str, setting: float) -> Cell:
        def run() -> dict[str, Any]:
            model, dense = reference(subject)
            return measure(methods[key](model, setting), dense)

        return Cell(f"{model_name} {name} | {key} | {setting:g} | {subject}", run, settings)

    for subject in subjects:
        for key, method in methods.items():
            sweep = method.sweep[::2] if key in thin else method.sweep
            for setting in middle_two(method.sweep) if quick else sweep:
                yield cell(subject, key, setting)


def middle_two(sweep: Sequence[float]) -> Sequence[float]:
    """Two settings from the inside of a sweep."""
    start = max(len(sweep) // 2 - 1, 0)
    return sweep[start : start + 2]


def _vit_cells(quick: bool) -> Iterable[Cell]:
    folder = real_data()
    directory = folder / "models" / "vit-tiny-tin200"
    processor, model = loaders(directory, ViTForImageClassification, frame_sampling_rate=1)

    @lru_cache(maxsize=1)
    def reference(frames: int, video: str) -> tuple[Any, Reference]:
        pixels = processor()(folder / "videos" / video, num_frames=None, return_tensors="pt").pixel_values[0]
        pixels = pixels[:frames].clone()
        return model(), Reference.of(vit_methods()["dense"](model()), [Clip(video, pixels)])

    for name, found in videos(folder / "videos").items():
        chosen = (list(STATIC) if name == "real" else []) if quick else found
        frames = QUICK_FRAMES if quick else MOVING_FRAMES if name == "moving" else FRAMES
        # Every setting of all the others would take hours more, as they run frame by frame.
        thin = [key for key in swept_methods() if key not in (*OURS, *SKIPPING, *STRONGEST)]
        load = partial(reference, frames)
        yield from sweep_cells("vit", name, chosen, swept_methods(), load, quick, thin, frames=frames)


def _across_frames_cells(quick: bool) -> Iterable[Cell]:
    folder = real_data()
    directory = folder / "models" / "vit-tiny-tin200"
    processor, model = loaders(directory, ViTForImageClassification, frame_sampling_rate=1)
    frames = QUICK_FRAMES if quick else MERGED_FRAMES

    @lru_cache(maxsize=1)
    def reference(video: str) -> tuple[Any, Reference]:
        pixels = processor()(folder / "videos" / video, num_frames=None, return_tensors="pt").pixel_values[0]
        pixels = pixels[:frames].clone()
        return model(), Reference.of(vit_methods()["dense"](model()), [Clip(video, pixels)])

    chosen = list(STATIC) if quick else videos(folder / "videos")["real"]
    return sweep_cells("vit", "merged", chosen, across_frames_methods(), reference, quick, frames=frames)


def _fight_cells(
    model_name: str,
    model_class: Any,
    methods: Callable[[], Methods],
    quick: bool,
    number: int | None = None,
    **settings: Any,
) -> Iterable[Cell]:
    """Labelled clips of surveillance cameras through models that know other classes: agreement."""
    folder = real_data()
    directory = folder / "models" / f"{model_name}-tiny-tin200"
    processor, model = loaders(directory, model_class)

    @lru_cache(maxsize=1)
    def reference(subject: str) -> tuple[Any, Reference]:
        clips = list(fights(folder, "test", processor(), 1 if quick else number))
        return model(), Reference.of(methods()["dense"](model()), clips)

    subject = "1 clip" if quick else f"{number or 'all'} clips"
    return sweep_cells(model_name, "fights", [subject], methods(), reference, quick, methods(), **settings)


def _vit_fight_cells(quick: bool) -> Iterable[Cell]:
    return _fight_cells("vit", ViTForImageClassification, swept_methods, quick, FIGHT_CLIPS, frames=CLIP_FRAMES)


def _videomae_fight_cells(quick: bool) -> Iterable[Cell]:
    return _fight_cells("videomae", VideoMAEForVideoClassification, videomae_methods, quick)


def _demo_cells(quick: bool) -> Iterable[Cell]:
    """The model and the clip that ship with the package."""
    assets = ROOT / "hf_ttr" / "assets"
    processor, load = loaders(assets / "vit-demo", hf_ttr.TemporalReuseViTForVideoClassification)
    frames = 8 if quick else 64

    @lru_cache(maxsize=1)
    def reference(subject: str) -> tuple[Any, Reference]:
        reuse = load()
        model = ViTForImageClassification(reuse.config).eval()
        model.load_state_dict(reuse.state_dict())
        pixels = spread_frames(processor(), assets / subject, frames)[0]
        label = model.config.label2id[scripts().DEMO_LABEL]
        return model, Reference.of(vit_methods()["dense"](model), [Clip(subject, pixels, label)])

    return sweep_cells("vit", "demo", ["demo.mp4"], swept_methods(), reference, quick, frames=frames)


def _videomae_motion_cells(quick: bool) -> Iterable[Cell]:
    count = 9 if quick else MOTION_CLIPS

    @lru_cache(maxsize=1)
    def reference(subject: str) -> tuple[Any, Reference]:
        model, clips = motion_clips(count)
        return model, Reference.of(videomae_methods()["dense"](model), clips)

    methods = videomae_methods()
    return sweep_cells("videomae", "motion", [f"{count} clips"], methods, reference, quick, methods)


def fights(folder: Path, split: str, processor: Any, number: int | None) -> Iterator[Clip]:
    """Clips of 16 frames of fight_surv, all or some evenly spread."""
    paths = sorted((folder / "fight_surv" / split).rglob("*.mp4"))
    if not paths:
        raise MissingData(f"there is no clip in {folder / 'fight_surv' / split}; put the labelled clips there.")
    chosen = paths if number is None else [paths[index] for index in torch.linspace(0, len(paths) - 1, number).long()]
    for path in chosen:
        yield Clip(path.stem, spread_frames(processor, path, CLIP_FRAMES)[0])


def motion_clips(count: int) -> tuple[VideoMAEForVideoClassification, list[Clip]]:
    """The shipped VideoMAE as the dense model, and generated clips that it has not seen, with their labels."""
    directory = ROOT / "hf_ttr" / "assets" / "videomae-demo"
    held_out_clip = scripts("make_motion_assets").held_out_clip
    reuse: Any = hf_ttr.TemporalReuseVideoMAEForVideoClassification.from_pretrained(directory).eval()
    model = VideoMAEForVideoClassification(reuse.config).eval()
    model.load_state_dict(reuse.state_dict())
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory)
    clips = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            frames, label = held_out_clip(MOTION_SEED, number, Path(folder))
            clips.append(Clip(str(number), processor(frames, return_tensors="pt").pixel_values[0], label))
    return model, clips


def scripts(name: str = "make_demo_assets") -> Any:
    """
    A module of scripts/.

    Raises:
        MissingData: if what it needs is not installed.
    """
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingData(
            f"the clips are made with {error.name}, which is not installed; install .[assets]."
        ) from error
    finally:
        sys.path.remove(str(ROOT / "scripts"))


def loaders(directory: Path, model_class: Any, **settings: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Functions that load the processor and the model of a directory on the first call."""

    @lru_cache(maxsize=1)
    def processor() -> Any:
        return hf_ttr.TemporalReuseVideoProcessor.from_pretrained(directory, **settings)

    @lru_cache(maxsize=1)
    def model() -> Any:
        return model_class.from_pretrained(directory, dtype=torch.float32).eval()

    return processor, model


def _about_vit(quick: bool) -> dict[str, Any]:
    frames = QUICK_FRAMES if quick else FRAMES
    return {"model": "vit-tiny-tin200", "frames": frames, "methods": described(swept_methods())}


PARTS = (
    Part("fidelity", "vit", _vit_cells, _about_vit),
    Part("fidelity", "fights", _vit_fight_cells, _about_vit),
    Part(
        "fidelity",
        "across_frames",
        _across_frames_cells,
        lambda quick: {"model": "vit-tiny-tin200", "methods": described(across_frames_methods())},
    ),
    Part("fidelity", "demo", _demo_cells, lambda quick: {"model": "vit-demo", "methods": described(swept_methods())}),
    Part(
        "fidelity",
        "videomae_fights",
        _videomae_fight_cells,
        lambda quick: {"model": "videomae-tiny-tin200", "methods": described(videomae_methods())},
    ),
    Part(
        "fidelity",
        "videomae_motion",
        _videomae_motion_cells,
        lambda quick: {"model": "videomae-demo", "methods": described(videomae_methods())},
    ),
)
