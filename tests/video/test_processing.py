"""The processors: the pixels of `ViTImageProcessorPil`, the chosen frames, the saved settings and the pipelines."""

import importlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    Siglip2ImageProcessorPil,
    VideoMAEImageProcessorPil,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    pipeline,
)
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.siglip2.image_processing_pil_siglip2 import convert_image_to_patches

from hf_ttr import TemporalReuseVideoMAEForVideoClassification, with_temporal_reuse
from hf_ttr.video import VideoDecodingError, read_frames
from hf_ttr.video.processing import TemporalReuseImageProcessor, TemporalReuseVideoProcessor, register_processors

from ..tiny import tiny_videomae


auto = importlib.import_module("transformers.models.auto.modeling_auto")
AutoImageProcessor = importlib.import_module("transformers.models.auto.image_processing_auto").AutoImageProcessor
AutoVideoProcessor = importlib.import_module("transformers.models.auto.video_processing_auto").AutoVideoProcessor

REAL_DATA = Path(os.environ.get("HF_TTR_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "real"))

FILES = ("preprocessor_config.json", "video_preprocessor_config.json")

# What a plain ViT checkpoint has in its preprocessor_config.json.
VIT = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 24, "width": 32},
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.5, 0.6, 0.7],
    "feature_extractor_type": "ViTFeatureExtractor",
    "an_unknown_key": 1,
}

# That of MCG-NJU/videomae-base-finetuned-kinetics.
VIDEOMAE = {
    "do_resize": True,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 0.00392156862745098,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "image_processor_type": "VideoMAEImageProcessor",
    "resample": 2,
}
SMALL_VIDEOMAE = VIDEOMAE | {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}

FRAMES = np.random.default_rng(0).integers(0, 256, (6, 37, 51, 3), dtype=np.uint8)
# Frames that hold their own index, and a processor that gives it back.
NUMBERED = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1).repeat(4, 1).repeat(5, 2).repeat(3, 3)
RAW = {"do_resize": False, "do_rescale": False, "do_normalize": False}


def encode(frames: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        packets = [stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")) for frame in frames]
        container.mux([packet for some in [*packets, stream.encode(None)] for packet in some])
    return buffer.getvalue()


def indices(pixel_values) -> list[int]:
    return [int(frame.max()) for frame in pixel_values]


# ---------------------------------------------------------------------------------------------------------------------
# Pixels
# ---------------------------------------------------------------------------------------------------------------------


SETTINGS = {
    "defaults": {},
    "checkpoint": {key: VIT[key] for key in ("size", "resample", "image_mean", "image_std")},
    "shortest-edge-and-crop": {
        "size": {"shortest_edge": 24},
        "do_center_crop": True,
        "crop_size": {"height": 16, "width": 20},
    },
    "crop-beyond-the-frame": {"do_resize": False, "do_center_crop": True, "crop_size": 64},
    "no-resize": {"do_resize": False},
    "no-normalisation": {"do_normalize": False},
    "no-rescaling": {"do_rescale": False},
    "other-scale": {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("source", [FRAMES, encode(FRAMES)], ids=["array", "file"])
def test_pixels_are_those_of_the_image_processor(source, settings):
    pixel_values = TemporalReuseVideoProcessor(**settings)(source, return_tensors="pt").pixel_values
    expected = ViTImageProcessorPil(**settings)(list(FRAMES), return_tensors="pt").pixel_values
    assert pixel_values.dtype == torch.float32
    assert torch.equal(pixel_values, expected[None].float())


def test_settings_of_the_call_win():
    processor = TemporalReuseVideoProcessor(**SETTINGS["checkpoint"])
    pixel_values = processor(
        FRAMES, size={"height": 8, "width": 8}, image_std=[1.0] * 3, return_tensors="pt"
    ).pixel_values
    expected = ViTImageProcessorPil(
        **SETTINGS["checkpoint"] | {"size": {"height": 8, "width": 8}, "image_std": [1.0] * 3}
    )
    assert torch.equal(pixel_values[0], expected(list(FRAMES), return_tensors="pt").pixel_values)
    assert dict(processor.size) == VIT["size"]


FLOATS = {
    "unit": FRAMES / 255,
    "unit-tensor": torch.from_numpy(FRAMES).float() / 255,
    "full": FRAMES.astype(np.float32),
}


@pytest.mark.parametrize("frames", FLOATS.values(), ids=FLOATS)
def test_float_frames_give_the_pixels_of_integer_ones(frames):
    processor = TemporalReuseVideoProcessor(size=16)
    assert torch.equal(
        processor(frames, return_tensors="pt").pixel_values, processor(FRAMES, return_tensors="pt").pixel_values
    )


def test_unit_frames_stay_in_the_unit_range_without_rescaling():
    pixel_values = TemporalReuseVideoProcessor(**RAW)(FRAMES / 255, return_tensors="np").pixel_values
    np.testing.assert_allclose(pixel_values[0], FRAMES.transpose(0, 3, 1, 2) / 255, atol=1e-6)


def test_grey_and_transparent_frames_have_three_channels():
    processor = TemporalReuseVideoProcessor(size=16)
    pictures = [PIL.Image.new("LA", (9, 7), (0, 0)), PIL.Image.new("L", (9, 7), 255)]
    pixel_values = processor(pictures, return_tensors="pt").pixel_values
    assert pixel_values.shape == (1, 2, 3, 16, 16)
    assert torch.equal(pixel_values, torch.ones_like(pixel_values))


@pytest.mark.parametrize("height, width", [(1, 1), (5, 5), (3, 4), (37, 51)])
def test_small_and_odd_frames_are_resized(height, width):
    frames = np.full((2, height, width, 3), 255, dtype=np.uint8)
    pixel_values = TemporalReuseVideoProcessor()(
        frames, input_data_format="channels_last", return_tensors="pt"
    ).pixel_values
    assert torch.equal(pixel_values, torch.ones(1, 2, 3, 224, 224))


# ---------------------------------------------------------------------------------------------------------------------
# Frames
# ---------------------------------------------------------------------------------------------------------------------


SAMPLING = {
    "uniform": (40, 5, "spread", [0, 10, 20, 29, 39]),
    "uniform-one": (40, 1, "spread", [0]),
    "uniform-all": (4, 4, "spread", [0, 1, 2, 3]),
    "uniform-short": (3, 5, "spread", [0, 1, 2, 2, 2]),
    "nothing-said": (40, 4, None, [0, 1, 2, 3]),
    "everything": (6, None, None, [0, 1, 2, 3, 4, 5]),
    "rate-1": (40, 4, 1, [0, 1, 2, 3]),
    "rate-4": (40, 4, 4, [0, 4, 8, 12]),
    "rate-short": (10, 5, 4, [0, 4, 8, 9, 9]),
    "rate-everything": (10, None, 4, [0, 4, 8]),
    "one-frame": (1, 4, None, [0, 0, 0, 0]),
    "one-frame-rate": (1, 3, 8, [0, 0, 0]),
}


@pytest.mark.parametrize("total, num_frames, rate, expected", SAMPLING.values(), ids=SAMPLING)
@pytest.mark.parametrize("as_source", [lambda frames: frames, encode], ids=["array", "file"])
def test_chosen_frames(as_source, total, num_frames, rate, expected):
    processor = TemporalReuseVideoProcessor(num_frames=num_frames, frame_sampling_rate=rate, **RAW)
    assert indices(processor(as_source(NUMBERED[:total]), return_tensors="np").pixel_values[0]) == expected


def test_call_of_the_stock_pipeline():
    processor = TemporalReuseVideoProcessor(num_frames=3, frame_sampling_rate=5, **RAW)
    batch = processor(NUMBERED, num_frames=4, do_sample_frames=True, return_tensors="pt").to(torch.float16)
    assert batch.pixel_values.dtype == torch.float16
    assert indices(batch.pixel_values[0]) == [0, 5, 10, 15]


def test_do_sample_frames_false_takes_every_frame():
    processor = TemporalReuseVideoProcessor(num_frames=2, frame_sampling_rate=3, **RAW)
    assert indices(processor(NUMBERED, do_sample_frames=False, return_tensors="np").pixel_values[0]) == list(range(40))


CLIP = NUMBERED[:3]
BATCHES = {
    "path": (lambda path: str(path), 1),
    "paths": (lambda path: [str(path), path], 2),
    "bytes": (lambda path: [path.read_bytes()] * 2, 2),
    "array": (lambda path: CLIP, 1),
    "arrays": (lambda path: [CLIP, torch.from_numpy(CLIP)], 2),
    "five-axes": (lambda path: np.stack([CLIP, CLIP]), 2),
    "frames": (lambda path: list(CLIP), 1),
    "grey-frames": (lambda path: list(CLIP[..., 0]), 1),
    "pictures": (lambda path: [PIL.Image.fromarray(frame) for frame in CLIP], 1),
    "lists-of-pictures": (lambda path: [[PIL.Image.fromarray(frame) for frame in CLIP]] * 2, 2),
    "lists-of-frames": (lambda path: (list(CLIP), list(CLIP)), 2),
    "mixed": (lambda path: [path, CLIP, list(CLIP), io.BytesIO(path.read_bytes())], 4),
}


@pytest.mark.parametrize("make, size", BATCHES.values(), ids=BATCHES)
def test_videos_and_batches(make, size, tmp_path):
    path = tmp_path / "clip.mkv"
    path.write_bytes(encode(CLIP))
    pixel_values = TemporalReuseVideoProcessor(**RAW)(make(path), return_tensors="pt").pixel_values
    assert pixel_values.shape == (size, 3, 3, 4, 5)
    assert all(indices(video) == [0, 1, 2] for video in pixel_values)


def test_videos_keyword():
    assert TemporalReuseVideoProcessor(**RAW)(videos=CLIP, return_tensors="np").pixel_values.shape == (1, 3, 3, 4, 5)


def test_without_return_tensors_the_videos_may_differ():
    clips = TemporalReuseVideoProcessor(**RAW)([NUMBERED[:3], NUMBERED[:5]]).pixel_values
    assert [clip.shape for clip in clips] == [(3, 3, 4, 5), (5, 3, 4, 5)]


def test_videos_of_different_lengths_make_no_batch():
    with pytest.raises(
        ValueError, match=r"shapes \(3, 3, 4, 5\) and \(5, 3, 4, 5\) .* cannot make a batch; set `num_frames`"
    ):
        TemporalReuseVideoProcessor(**RAW)([NUMBERED[:3], NUMBERED[:5]], return_tensors="pt")


def test_the_error_names_the_video_of_the_batch():
    with pytest.raises(VideoDecodingError, match=r"NaN or infinite pixels; pass finite ones \(video 2 of 3\)\.$"):
        TemporalReuseVideoProcessor()([CLIP, np.full((1, 4, 5, 3), np.nan), CLIP], return_tensors="pt")


def test_no_video():
    with pytest.raises(VideoDecodingError, match="holds no video"):
        TemporalReuseVideoProcessor()([], return_tensors="pt")


@pytest.mark.parametrize("value", [0, -1, 2.5, "8", True], ids=repr)
@pytest.mark.parametrize("name", ["num_frames", "frame_sampling_rate"])
def test_wrong_sampling(name, value):
    others = "" if name == "num_frames" else ", 'spread'"
    message = f"`{name}` must be a positive integer{others} or None, not {value!r}"
    with pytest.raises(ValueError, match=message):
        TemporalReuseVideoProcessor(**{name: value})
    with pytest.raises(ValueError, match=message):
        TemporalReuseVideoProcessor()(CLIP, **{name: value})


def test_unknown_setting():
    with pytest.raises(TypeError, match="TemporalReuseVideoProcessor has no setting 'num_frame'"):
        TemporalReuseVideoProcessor(num_frame=8)
    with pytest.raises(TypeError, match="TemporalReuseVideoProcessor has no setting 'num_frame'"):
        TemporalReuseVideoProcessor()(CLIP, num_frame=8)


# ---------------------------------------------------------------------------------------------------------------------
# Saved settings
# ---------------------------------------------------------------------------------------------------------------------


PROCESSORS = [TemporalReuseVideoProcessor, TemporalReuseImageProcessor]
SAVED = {"num_frames": 8, "frame_sampling_rate": 4, "size": {"height": 24, "width": 32}, "image_mean": (0.1, 0.2, 0.3)}


@pytest.fixture
def warned(caplog):
    """Gives the warnings that transformers has logged; it does not hand its messages on by default."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("processor_class", PROCESSORS)
def test_plain_vit_checkpoint(processor_class, tmp_path, warned):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    processor = processor_class.from_pretrained(tmp_path, num_frames=8, temporal_reuse={"threshold": 1})
    assert (dict(processor.size), processor.resample, processor.num_frames) == (VIT["size"], 3, 8)
    assert (list(processor.image_mean), list(processor.image_std)) == (VIT["image_mean"], VIT["image_std"])
    saved = processor.to_dict()
    assert not saved.keys() & {"temporal_reuse", "an_unknown_key", "feature_extractor_type"}
    assert warned() == []


VIDEOMAE_FILES = {
    "kinetics": VIDEOMAE,
    "of-old-transformers": {
        "feature_extractor_type": "VideoMAEFeatureExtractor",
        "size": 224,
        "crop_size": 224,
        **{key: VIDEOMAE[key] for key in ("image_mean", "image_std", "resample")},
    },
    "without-crop": {key: value for key, value in VIDEOMAE.items() if "crop" not in key},
    "with-nothing": {"image_processor_type": "VideoMAEImageProcessor"},
    "squeezed": VIDEOMAE | {"size": {"height": 64, "width": 64}, "do_center_crop": False, "image_mean": [0.5] * 3},
}


@pytest.mark.parametrize("shape", [(240, 320), (320, 180), (256, 256), (37, 51)], ids=str)
@pytest.mark.parametrize("settings", VIDEOMAE_FILES.values(), ids=VIDEOMAE_FILES)
def test_plain_videomae_checkpoint(settings, shape, tmp_path, warned):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    processor = TemporalReuseVideoProcessor.from_pretrained(tmp_path)
    assert (processor.num_frames, processor.frame_sampling_rate) == (None, None)
    frames = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    expected = VideoMAEImageProcessorPil.from_pretrained(tmp_path)(list(frames), return_tensors="pt").pixel_values
    pixel_values = processor(frames, return_tensors="pt").pixel_values
    assert pixel_values.shape == expected.shape
    assert (pixel_values - expected).abs().max() <= 1e-6
    # What was left open is settled once it is saved.
    processor.save_pretrained(tmp_path)
    again = TemporalReuseVideoProcessor.from_pretrained(tmp_path)
    assert torch.equal(again(frames, return_tensors="pt").pixel_values, pixel_values)
    assert warned() == []


OTHERS = {
    "clip": ("CLIPImageProcessor", {"size": {"shortest_edge": 48}, "crop_size": {"height": 32, "width": 40}}),
    "clip-of-torchvision": ("CLIPImageProcessorFast", {"size": {"shortest_edge": 48}}),
    "clip-of-old-transformers": ("CLIPFeatureExtractor", {"size": {"shortest_edge": 48}}),
    "siglip": ("SiglipImageProcessor", {"size": {"height": 40, "width": 30}}),
    "beit": ("BeitImageProcessor", {"size": {"height": 40, "width": 40}, "do_center_crop": True, "crop_size": 32}),
    "defaults": ("BitImageProcessor", {}),
    "convnext-without-its-crop": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "do_resize": False}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_another_class_gives_its_pixels(name, tmp_path):
    kind, settings = OTHERS[name]
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": kind, **settings}))
    base = re.sub("(ImageProcessor(Fast)?|FeatureExtractor)$", "", kind)
    other = getattr(transformers, f"{base}ImageProcessorPil").from_pretrained(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (2, 70, 51, 3), dtype=np.uint8)
    expected = other(list(frames), return_tensors="pt").pixel_values
    found = TemporalReuseVideoProcessor.from_pretrained(tmp_path)(frames, return_tensors="pt").pixel_values[0]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-6


REFUSED = {
    "other-pixels": ("ConvNextImageProcessor", {}, "which has the settings crop_pct, and its pixels are not those"),
    "offset": ("EfficientNetImageProcessor", {"rescale_offset": True}, "settings .*rescale_offset, and its pixels"),
    "channels-turned": ("MobileViTImageProcessor", {"do_flip_channel_order": True}, "do_flip_channel_order"),
    "unknown": ("StrangersImageProcessor", {}, "class 'StrangersImageProcessor', whose pixels are not known here"),
    "of-videos": ("Qwen2VLVideoProcessor", {}, "whose pixels are not known here"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_a_class_with_other_pixels_is_refused(name, tmp_path):
    kind, settings, words = REFUSED[name]
    key = "video_processor_type" if "Video" in kind else "image_processor_type"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({key: kind, **settings}))
    with pytest.raises(ValueError, match=words) as error:
        TemporalReuseVideoProcessor.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "size", [{"height": 10**6, "width": 10**6}, {"shortest_edge": 10**9}, {"height": 0, "width": 4}]
)
@pytest.mark.parametrize("name", ["size", "crop_size"])
def test_a_file_that_asks_for_endless_frames_is_refused(name, size, tmp_path):
    settings = {"image_processor_type": "ViTImageProcessor", "do_center_crop": True, name: size}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=f"`{name}` is .*from 1 to 4096 pixels"):
        TemporalReuseVideoProcessor.from_pretrained(tmp_path)


def test_frames_that_would_become_endless_are_refused():
    processor = TemporalReuseVideoProcessor(size={"shortest_edge": 224})
    with pytest.raises(VideoDecodingError, match="9000 x 1 pixels; made 224 pixels on the shorter side"):
        processor([np.zeros((1, 9000, 3), dtype=np.uint8)])


# Those of facebook/vjepa2-vitl-fpc64-256 and of a VideoPrism, in small.
OF_VIDEOS = {
    "vjepa2": {
        "crop_size": {"height": 28, "width": 28},
        "size": {"shortest_edge": 999},
        "do_center_crop": True,
        "do_pad": None,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "video_processor_type": "VJEPA2VideoProcessor",
    },
    "videoprism": {
        "size": {"height": 24, "width": 36},
        "crop_size": None,
        "do_center_crop": None,
        "do_normalize": False,
        "do_sample_frames": False,
        "resample": 3,
        "video_processor_type": "LlavaOnevisionVideoProcessor",
    },
    "videoprism-of-old-transformers": {
        "size": {"height": 24, "width": 36},
        "video_processor_type": "VideoPrismVideoProcessor",
    },
}


def pixels_of_torchvision(frames: np.ndarray, shape: tuple[int, int], mode: str) -> torch.Tensor:
    """What torchvision's resizing makes of 8 bits on a CPU: that of torch, with antialiasing."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return torch.nn.functional.interpolate(pixels, shape, mode=mode, antialias=True)


@pytest.mark.parametrize("name", OF_VIDEOS)
def test_plain_files_of_video_processors(name, tmp_path, warned):
    (tmp_path / FILES[1]).write_text(json.dumps(OF_VIDEOS[name]))
    # A scene without noise, of which two ways of resizing make nearly the same.
    rows, columns = np.mgrid[:60, :90]
    frames = np.stack([rows * 4, columns * 2, (rows + columns) * 1.5], -1)[None].repeat(2, 0).astype(np.uint8)
    processor = TemporalReuseVideoProcessor.from_pretrained(tmp_path)
    found = processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0]
    if name == "vjepa2":
        # The short side becomes 28 * 256 / 224 pixels, of which the middle is taken; the given size is not looked at.
        resized = pixels_of_torchvision(frames, (32, 48), "bilinear")[..., 2:30, 10:38] / 255
        mean, deviation = (torch.tensor(OF_VIDEOS[name][key])[:, None, None] for key in ("image_mean", "image_std"))
        expected, step = (resized - mean) / deviation, 1 / 255 / 0.224
    else:
        expected, step = pixels_of_torchvision(frames, (24, 36), "bicubic") / 255, 1 / 255
    assert found.shape == expected.shape
    # To rounding to 8 bits.
    assert (found - expected).abs().max() <= 1.01 * step
    processor.save_pretrained(tmp_path / "saved")
    again = TemporalReuseVideoProcessor.from_pretrained(tmp_path / "saved")
    assert torch.equal(again(frames, do_sample_frames=False, return_tensors="pt").pixel_values[0], found)
    assert warned() == []


def test_what_a_file_of_a_video_processor_leaves_open_is_as_its_class_has_it(tmp_path):
    for kind, expected in {
        "VJEPA2VideoProcessor": ({"shortest_edge": 292}, {"height": 256, "width": 256}, 2, True, 0.485),
        "TimesformerVideoProcessor": ({"shortest_edge": 224}, {"height": 224, "width": 224}, 2, True, 0.485),
        "VideoPrismVideoProcessor": ({"height": 288, "width": 288}, None, 3, False, 0.48145466),
        "LlavaOnevisionVideoProcessor": ({"height": 384, "width": 384}, None, 3, True, 0.48145466),
    }.items():
        (tmp_path / "processor_config.json").write_text(
            json.dumps({"video_processor": {"video_processor_type": kind}})
        )
        found = TemporalReuseVideoProcessor.from_pretrained(tmp_path)
        crop = dict(found.crop_size) if found.do_center_crop else None
        assert (dict(found.size), crop, found.resample, found.do_normalize, found.image_mean[0]) == expected


VIVIT = {
    "image_processor_type": "VivitImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 24, "width": 28},
    "do_center_crop": True,
    "offset": True,
    "resample": 2,
    "rescale_factor": 1 / 127.5,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}


@pytest.mark.parametrize(
    "changes", [{}, {"offset": False}, {"do_normalize": False}, {"do_rescale": False, "offset": False}], ids=str
)
def test_plain_vivit_checkpoint(changes, tmp_path, warned):
    settings = VIVIT | changes
    (tmp_path / FILES[0]).write_text(json.dumps(settings))
    kind = importlib.import_module("transformers.models.vivit.image_processing_vivit").VivitImageProcessor
    expected = kind(**{key: value for key, value in settings.items() if key != "image_processor_type"})
    pixels = expected(list(FRAMES), return_tensors="pt").pixel_values
    found = TemporalReuseVideoProcessor.from_pretrained(tmp_path)(FRAMES, return_tensors="pt").pixel_values
    assert found.shape == pixels.shape == (1, 6, 3, 24, 28)
    assert (found - pixels).abs().max() <= 1e-5 * pixels.abs().max()
    left_open = {"image_processor_type": "VivitImageProcessor"}
    defaults = TemporalReuseImageProcessor.from_dict(left_open)
    assert (dict(defaults.size), defaults.rescale_factor) == ({"shortest_edge": 256}, 1 / 127.5)
    assert list(defaults.image_mean) == [1.5] * 3
    assert warned() == []


# That of google/siglip2-base-patch16-naflex, in small.
SIGLIP2 = {
    "do_convert_rgb": None,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_processor_type": "Siglip2ImageProcessorFast",
    "image_std": [0.5, 0.5, 0.5],
    "max_num_patches": 30,
    "patch_size": 8,
    "resample": 2,
    "rescale_factor": 1 / 255,
}


@pytest.mark.parametrize("shape", [(64, 64), (60, 100), (100, 31), (5, 200), (7, 7)], ids=str)
@pytest.mark.parametrize("left_open", [(), ("patch_size", "max_num_patches", "resample", "image_mean", "image_std")])
def test_plain_siglip2_checkpoint(shape, left_open, tmp_path, warned):
    settings = {key: value for key, value in SIGLIP2.items() if key not in left_open}
    (tmp_path / FILES[0]).write_text(json.dumps(settings))
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = Siglip2ImageProcessorPil.from_pretrained(tmp_path)(picture, return_tensors="np")
    rows, columns = expected["spatial_shapes"][0]
    patches = expected["pixel_values"][0, : rows * columns]
    images = TemporalReuseImageProcessor.from_pretrained(tmp_path)
    videos = TemporalReuseVideoProcessor.from_pretrained(tmp_path)
    made = images(picture, return_tensors="np").pixel_values
    assert made.shape == (1, 3, rows * images.patch_size, columns * images.patch_size)
    np.testing.assert_allclose(convert_image_to_patches(made[0], images.patch_size), patches, atol=1e-6)
    clip = videos(picture[None].repeat(3, 0), return_tensors="np").pixel_values
    np.testing.assert_allclose(clip, made[:, None].repeat(3, 1), atol=1e-6)
    videos.save_pretrained(tmp_path / "saved")
    again = TemporalReuseImageProcessor.from_pretrained(tmp_path / "saved")
    assert again.to_dict() == images.to_dict()
    np.testing.assert_array_equal(again(picture, return_tensors="np").pixel_values, made)
    assert warned() == []


def test_pictures_of_other_proportions_make_no_batch_of_patches():
    processor = TemporalReuseImageProcessor.from_dict(SIGLIP2)
    pictures = [np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)]
    assert len({picture.shape for picture in processor(pictures).pixel_values}) == 2
    with pytest.raises(ValueError, match=r"^The pictures become \(\d+, \d+\) and \(\d+, \d+\) pixels large and "):
        processor(pictures, return_tensors="np")


@pytest.mark.parametrize(
    ("patch_size", "max_num_patches", "words"),
    [(0, 4, "whole numbers"), (16, None, "whole numbers"), (16, 2.5, "whole numbers"), (16, 10**6, "at most 4096 x")],
)
@pytest.mark.parametrize("processor_class", PROCESSORS)
def test_wrong_patches(processor_class, patch_size, max_num_patches, words):
    with pytest.raises(ValueError, match=words):
        processor_class(patch_size=patch_size, max_num_patches=max_num_patches)
    with pytest.raises(ValueError, match=words):
        processor_class()(FRAMES[:1], patch_size=patch_size, max_num_patches=max_num_patches)


@pytest.mark.parametrize("loaded", PROCESSORS)
@pytest.mark.parametrize("saved", PROCESSORS)
@pytest.mark.parametrize("kept", [FILES, FILES[:1], FILES[1:]], ids=["both-files", "image-file", "video-file"])
def test_settings_survive_either_file(saved, loaded, kept, tmp_path):
    written = saved(**SAVED).save_pretrained(tmp_path)
    assert written == [str(tmp_path / name) for name in FILES]
    for name in set(FILES) - set(kept):
        (tmp_path / name).unlink()
    if loaded is TemporalReuseImageProcessor and kept == FILES[1:]:
        tmp_path = tmp_path / FILES[1]  # an image processor does not look for this name by itself
    processor = loaded.from_pretrained(tmp_path)
    assert {name: getattr(processor, name) for name in ("num_frames", "frame_sampling_rate", "image_mean")} == {
        name: SAVED[name] for name in ("num_frames", "frame_sampling_rate", "image_mean")
    }
    assert processor.to_dict() == saved(**SAVED).to_dict()


@pytest.mark.parametrize("processor_class", PROCESSORS)
def test_from_json_file_and_unused_arguments(processor_class, tmp_path):
    processor_class(**SAVED).save_pretrained(tmp_path)
    assert processor_class.from_json_file(tmp_path / FILES[0]).to_dict() == processor_class(**SAVED).to_dict()
    _, unused = processor_class.from_pretrained(tmp_path, num_frames=2, foo=1, return_unused_kwargs=True)
    assert unused["foo"] == 1


def test_push_to_hub_uploads_both_files(tmp_path, monkeypatch):
    pushed = {}

    def push(self, repo_id, **kwargs):
        pushed[repo_id] = kwargs

    monkeypatch.setattr(TemporalReuseImageProcessor, "push_to_hub", push)
    processor = TemporalReuseVideoProcessor(**SAVED)
    processor.save_pretrained(tmp_path / "clips", push_to_hub=True)
    processor.save_pretrained(tmp_path, push_to_hub=True, repo_id="me/clips", private=True)
    assert pushed == {"clips": {}, "me/clips": {"private": True}}


def test_image_processor_gives_the_pixels_of_vit():
    pictures = [PIL.Image.fromarray(frame) for frame in FRAMES[:2]]
    settings = SETTINGS["checkpoint"]
    pixel_values = TemporalReuseImageProcessor(num_frames=8, **settings)(pictures, return_tensors="pt").pixel_values
    assert pixel_values.shape == (2, 3, 24, 32)
    assert torch.equal(pixel_values, ViTImageProcessorPil(**settings)(pictures, return_tensors="pt").pixel_values)


# ---------------------------------------------------------------------------------------------------------------------
# Auto classes and pipelines
# ---------------------------------------------------------------------------------------------------------------------


class ClipViTConfig(ViTConfig):
    model_type = "hf_ttr_test_clip_vit"
    num_frames: int = 4
    temporal_reuse: dict | None = None


class ClipViT(ViTForImageClassification):
    config: ClipViTConfig

    def forward(self, pixel_values, **kwargs):
        if pixel_values.ndim == 4:
            return super().forward(pixel_values)
        logits = super().forward(pixel_values.flatten(0, 1)).logits
        return ImageClassifierOutput(logits=logits.unflatten(0, pixel_values.shape[:2]).mean(1))


@pytest.fixture(scope="module", autouse=True)
def registered():
    AutoConfig.register(ClipViTConfig.model_type, ClipViTConfig)
    auto.AutoModelForVideoClassification.register(ClipViTConfig, ClipViT)
    auto.AutoModelForImageClassification.register(ClipViTConfig, ClipViT)
    register_processors(ClipViTConfig)
    register_processors(ClipViTConfig)  # a second time changes nothing


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return ClipViT(ClipViTConfig(image_size=32, patch_size=16, num_labels=3, **sizes)).eval()


@pytest.fixture
def checkpoint(model, tmp_path) -> str:
    model.save_pretrained(tmp_path / "model")
    TemporalReuseVideoProcessor(size=32, num_frames=4, frame_sampling_rate=2).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


@pytest.fixture
def clip(tmp_path) -> str:
    (tmp_path / "clip.mkv").write_bytes(
        encode(np.random.default_rng(1).integers(0, 256, (12, 40, 40, 3), dtype=np.uint8))
    )
    return str(tmp_path / "clip.mkv")


def test_auto_classes(checkpoint):
    assert type(AutoVideoProcessor.from_pretrained(checkpoint)) is TemporalReuseVideoProcessor
    assert type(AutoImageProcessor.from_pretrained(checkpoint)) is TemporalReuseImageProcessor


def test_auto_video_processor_of_a_checkpoint_with_a_vit_preprocessor(model, tmp_path):
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(VIT))
    processor = AutoVideoProcessor.from_pretrained(tmp_path)
    assert type(processor) is TemporalReuseVideoProcessor
    assert list(processor.image_mean) == VIT["image_mean"]


def test_stock_video_pipeline(checkpoint, clip, model):
    pipe = pipeline("video-classification", model=checkpoint, device="cpu")
    assert type(pipe.video_processor) is TemporalReuseVideoProcessor
    frames, _ = read_frames(clip, lambda total: [0, 2, 4, 6])
    pixel_values = ViTImageProcessorPil(size=32)(frames, return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = model(pixel_values[None]).logits.softmax(-1)[0]
    scores = {answer["label"]: answer["score"] for answer in pipe(clip)}
    assert scores == pytest.approx({f"LABEL_{label}": float(score) for label, score in enumerate(expected)}, abs=1e-6)


def test_nothing_is_lost_when_a_pipeline_is_saved(checkpoint, clip, tmp_path, warned):
    pipe = pipeline(
        "video-classification", model=checkpoint, device="cpu", model_kwargs={"temporal_reuse": {"threshold": 1}}
    )
    pipe.save_pretrained(tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_text() == (Path(checkpoint) / name).read_text()
    again = pipeline("video-classification", model=str(tmp_path / "again"), device="cpu")
    assert again.video_processor.to_dict() == pipe.video_processor.to_dict()
    assert again(clip) == pipe(clip)
    assert not [message for message in warned() if "rocessor" in message]


def test_batches_in_the_pipeline(checkpoint, clip):
    pipe = pipeline("video-classification", model=checkpoint, device="cpu")
    one, many = pipe(clip), pipe([clip] * 3, batch_size=2)
    assert len(many) == 3
    for answers in many:
        assert [answer["label"] for answer in answers] == [answer["label"] for answer in one]
        assert [answer["score"] for answer in answers] == pytest.approx([answer["score"] for answer in one], abs=1e-6)


def test_stock_image_pipeline(checkpoint, model):
    picture = PIL.Image.fromarray(FRAMES[0])
    pipe = pipeline("image-classification", model=checkpoint, device="cpu")
    assert type(pipe.image_processor) is TemporalReuseImageProcessor
    with torch.no_grad():
        logits = model(ViTImageProcessorPil(size=32)(picture, return_tensors="pt").pixel_values).logits
    assert pipe(picture)[0]["score"] == pytest.approx(float(logits.softmax(-1).max()), abs=1e-6)


@pytest.fixture
def videomae(tmp_path) -> str:
    """A VideoMAE with reuse that takes 8 frames, and a processor with the settings of a plain one."""
    with_temporal_reuse(tiny_videomae(), {"threshold": 0.5}).save_pretrained(tmp_path / "videomae")
    (tmp_path / "videomae" / FILES[0]).write_text(json.dumps(SMALL_VIDEOMAE))
    # transformers prefers the class named in the file, and loads its own as long as that is VideoMAE's.
    TemporalReuseVideoProcessor.from_pretrained(tmp_path / "videomae").save_pretrained(tmp_path / "videomae")
    return str(tmp_path / "videomae")


def as_scores(answers: list[dict]) -> dict[str, float]:
    return {answer["label"]: answer["score"] for answer in answers}


@pytest.mark.parametrize("settings", [{}, {"mode": "off"}, {"mode": "causal", "threshold": 0.1}], ids=str)
def test_videomae_in_the_stock_pipeline(videomae, clip, settings):
    pipe = pipeline("video-classification", model=videomae, device="cpu", model_kwargs={"temporal_reuse": settings})
    assert type(pipe.model) is TemporalReuseVideoMAEForVideoClassification
    assert type(pipe.video_processor) is TemporalReuseVideoProcessor
    # The files name no number of frames: the pipeline takes as many as the model does, the first ones.
    frames, _ = read_frames(clip, lambda total: range(8))
    processor = VideoMAEImageProcessorPil(**SMALL_VIDEOMAE)
    pixel_values = processor(frames, return_tensors="pt").pixel_values
    model = with_temporal_reuse(tiny_videomae(), {"threshold": 0.5, **settings})
    with torch.no_grad():
        expected = model(pixel_values).logits.softmax(-1)[0]
    found = as_scores(pipe(clip))
    assert found == pytest.approx({f"LABEL_{label}": float(score) for label, score in enumerate(expected)}, abs=1e-6)


def test_videomae_in_batches_and_lists(videomae, clip, tmp_path):
    (tmp_path / "short.mkv").write_bytes(encode(FRAMES[:5]))
    pipe = pipeline("video-classification", model=videomae, device="cpu")
    clips = [clip, str(tmp_path / "short.mkv"), clip]
    one_by_one = [as_scores(pipe(clip)) for clip in clips]
    for many in (pipe(clips), pipe(clips, batch_size=2)):
        assert [as_scores(answers) for answers in many] == [pytest.approx(scores, abs=1e-5) for scores in one_by_one]
    assert one_by_one[0] != one_by_one[1]


def test_pipeline_of_a_videomae_is_saved_and_loaded(videomae, clip, tmp_path, warned):
    pipe = pipeline("video-classification", model=videomae, device="cpu")
    pipe.save_pretrained(tmp_path / "again")
    again = pipeline("video-classification", model=str(tmp_path / "again"), device="cpu")
    assert type(again.model) is TemporalReuseVideoMAEForVideoClassification
    assert again.model.config.temporal_reuse.to_dict() == pipe.model.config.temporal_reuse.to_dict()
    assert again.video_processor.to_dict() == pipe.video_processor.to_dict()
    assert again(clip) == pipe(clip)
    assert not [message for message in warned() if "rocessor" in message]


def test_importing_the_package_is_all_that_the_pipeline_needs(videomae, clip):
    code = "import sys, hf_ttr; from transformers import pipeline; "
    code += "print(pipeline('video-classification', model=sys.argv[1], device='cpu')(sys.argv[2])[0]['label'])"
    result = subprocess.run([sys.executable, "-c", code, videomae, clip], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("LABEL_")


def test_real_checkpoint_and_video():
    checkpoint, video = REAL_DATA / "models" / "vit-tiny-tin200", REAL_DATA / "videos" / "tea-pour.mp4"
    if not (checkpoint.is_dir() and video.is_file()):
        pytest.skip("The real checkpoint and videos are not on this machine: set HF_TTR_REAL_DATA to their folder.")
    processor = TemporalReuseVideoProcessor.from_pretrained(checkpoint, num_frames=8, frame_sampling_rate="spread")
    frames, _ = read_frames(video, lambda total: np.linspace(0, total - 1, 8).round().astype(int))
    expected = ViTImageProcessorPil.from_pretrained(checkpoint)(frames, return_tensors="pt").pixel_values
    assert torch.equal(processor(video, return_tensors="pt").pixel_values[0], expected)
