"""What a file says of its picture holds: turned and mirrored, its colours, its stream; against FFmpeg's own output."""

from __future__ import annotations

import gc
import io
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest

from hf_ttr import example
from hf_ttr.streaming import open_source
from hf_ttr.video import read_frames
from hf_ttr.video.picture import UPRIGHT, _over_white, picture_to_rgb, still_orientation, to_rgb


FFMPEG = shutil.which("ffmpeg")
HEIGHT, WIDTH = 48, 64
TOP_LEFT = (220, 40, 30)


def corners(frame: np.ndarray) -> str:
    """Where the red corner is: of a frame of which only the top left one is red."""
    height, width = frame.shape[:2]
    places = {"TL": (2, 2), "TR": (2, width - 3), "BL": (height - 3, 2), "BR": (height - 3, width - 3)}
    return " ".join(name for name, place in places.items() if int(frame[place][0]) - int(frame[place][2]) > 100)


def red_corner() -> np.ndarray:
    frame = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    frame[:16, :16] = TOP_LEFT
    return frame


def encode(frames: list[np.ndarray], codec: str = "mpeg4", pixels: str = "yuv420p", form: str = "mp4") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25, options={"qmin": "1", "qmax": "2"} if codec == "mpeg4" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def with_matrix(data: bytes, a: int, b: int, c: int, d: int, x: int = 0, y: int = 0) -> bytes:
    """An MP4 file with another display matrix: a point (x, y) is shown at (a x + c y, b x + d y)."""
    start = data.index(b"tkhd") + 4 + 40
    one, thirty = 1 << 16, 1 << 30
    matrix = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, x * one, y * one, thirty)
    return data[:start] + matrix + data[start + 36 :]


def frames_of_ffmpeg(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    command = [str(FFMPEG), "-loglevel", "error", "-nostdin", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24"]
    done = subprocess.run([*command, "-"], capture_output=True, check=True).stdout
    return np.frombuffer(done, np.uint8).reshape(-1, *shape)


def read_both_ways(source: object) -> np.ndarray:
    """The first frame, which files and streams give alike."""
    frames, info = read_frames(source, lambda total: [0])
    with open_source(source) as stream:
        np.testing.assert_array_equal(next(iter(stream.frames())).pixels, frames[0])
    assert (info.height, info.width) == frames[0].shape[:2]
    return frames[0]


# By name, the matrix (a, b, c, d) and where the top left corner is shown.
MATRICES = {
    "as-it-is": ((1, 0, 0, 1), "TL"),
    "mirrored": ((-1, 0, 0, 1), "TR"),
    "flipped": ((1, 0, 0, -1), "BL"),
    "half-turn": ((-1, 0, 0, -1), "BR"),
    "quarter-turn-right": ((0, 1, -1, 0), "TR"),
    "quarter-turn-left": ((0, -1, 1, 0), "BL"),
    "transposed": ((0, 1, 1, 0), "TL"),
    "transposed-the-other-way": ((0, -1, -1, 0), "BR"),
    "nothing-at-all": ((0, 0, 0, 0), "TL"),
}


@pytest.mark.parametrize("matrix, corner", MATRICES.values(), ids=MATRICES)
def test_the_whole_display_matrix_counts(matrix, corner, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_matrix(encode([red_corner()] * 2), *matrix))
    frame = read_both_ways(path)
    assert corners(frame) == corner
    assert frame.shape == ((WIDTH, HEIGHT, 3) if matrix[1] else (HEIGHT, WIDTH, 3))
    # Older versions leave the flip out where there is no rotation.
    if FFMPEG and any(matrix):
        np.testing.assert_allclose(frames_of_ffmpeg(path, frame.shape)[0].astype(int), frame, atol=3)


EXIF_CORNERS = {1: "TL", 2: "TR", 3: "BR", 4: "BL", 5: "TL", 6: "TR", 7: "BR", 8: "BL"}


def picture_file(orientation: int, form: str) -> bytes:
    picture = PIL.Image.fromarray(red_corner())
    exif = picture.getexif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    picture.save(buffer, form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", EXIF_CORNERS)
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_still_pictures_are_turned_as_they_say(orientation, form):
    data = picture_file(orientation, form)
    assert corners(read_both_ways(data)) == EXIF_CORNERS[orientation]
    frames, info = read_frames([PIL.Image.open(io.BytesIO(data))])
    assert corners(frames[0]) == EXIF_CORNERS[orientation]
    assert (
        (info.height, info.width) == frames[0].shape[:2] == ((WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH))
    )


def test_a_damaged_picture_has_no_orientation():
    data = picture_file(6, "JPEG")
    for size in (0, 10, 40, 60):
        assert still_orientation(io.BytesIO(data[:size])) == UPRIGHT


# Pixel format, matrix of colour as FFmpeg counts it (and its red and blue weights), and whether its range is full.
COLOURS = {
    "bt601": ("yuv444p", 6, (0.299, 0.114), False),
    "bt601-full": ("yuv444p", 6, (0.299, 0.114), True),
    "bt709": ("yuv444p", 1, (0.2126, 0.0722), False),
    "bt709-full": ("yuv444p", 1, (0.2126, 0.0722), True),
    "bt2020-10-bit": ("yuv444p10le", 9, (0.2627, 0.0593), False),
    "nothing-said": ("yuv444p", 2, (0.299, 0.114), False),
    "jpeg": ("yuvj444p", 5, (0.299, 0.114), True),
}


@pytest.mark.parametrize("pixels, matrix, weights, is_full", COLOURS.values(), ids=COLOURS)
def test_colours_are_those_of_the_stated_matrix_and_range(pixels, matrix, weights, is_full):
    bits = 10 if "10" in pixels else 8
    codes = [int(share * (2**bits - 1)) for share in (0.5, 0.42, 0.6)]
    frame = av.VideoFrame(32, 32, pixels)
    for plane, code in zip(frame.planes, codes):
        kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
        plane.update(np.full(plane.buffer_size // kind.itemsize, code, kind).tobytes())
    frame.colorspace, frame.color_range = matrix, 2 if is_full else 1
    top, scale = 2**bits - 1, 2 ** (bits - 8)
    if is_full:
        luma, blue, red = codes[0] / top, (codes[1] - 128 * scale) / top, (codes[2] - 128 * scale) / top
    else:
        luma = (codes[0] - 16 * scale) / (219 * scale)
        blue, red = ((code - 128 * scale) / (224 * scale) for code in codes[1:])
    kr, kb = weights
    expected = np.array([luma + 2 * (1 - kr) * red, 0, luma + 2 * (1 - kb) * blue])
    expected[1] = (luma - kr * expected[0] - kb * expected[2]) / (1 - kr - kb)
    np.testing.assert_allclose(to_rgb(frame)[16, 16], 255 * expected, atol=1.5)


@pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not on this machine.")
@pytest.mark.parametrize(
    "options",
    [
        ["-pix_fmt", "yuv420p", "-colorspace", "bt709"],
        ["-pix_fmt", "yuv420p", "-colorspace", "bt709", "-color_range", "pc"],
        ["-pix_fmt", "yuv444p", "-bsf:v", "h264_metadata=crop_left=8:crop_top=4"],
        ["-pix_fmt", "yuv420p", "-aspect", "16:3"],
        ["-pix_fmt", "gray"],
    ],
    ids=["bt709", "full-range", "cropped", "not-square", "grey"],
)
def test_pixels_are_those_of_ffmpeg(options, tmp_path):
    path = tmp_path / "clip.mkv"
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:d=0.2", "-c:v", "libx264", "-crf", "1"]
    subprocess.run([str(FFMPEG), "-loglevel", "error", "-nostdin", *source, *options, str(path)], check=True)
    frame = read_both_ways(path)
    np.testing.assert_allclose(frames_of_ffmpeg(path, frame.shape)[0].astype(int), frame, atol=2)


def two_streams(sizes: list[tuple[int, int]], defaults: list[bool], covers: list[bool]) -> bytes:
    """A Matroska file of several streams, whose grey levels are 60, 120, ..."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        streams = []
        for (width, height), is_default, is_cover in zip(sizes, defaults, covers):
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "gray"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 25)
            flags = av.stream.Disposition
            stream.disposition = (flags.default if is_default else 0) | (flags.attached_pic if is_cover else 0)
            streams.append(stream)
        for number, stream in enumerate(streams, start=1):
            level = np.full((stream.height, stream.width), 60 * number, np.uint8)
            for packet in [*stream.encode(av.VideoFrame.from_ndarray(level, format="gray")), *stream.encode(None)]:
                container.mux(packet)
    return buffer.getvalue()


STREAMS = {
    "the-larger": ([(32, 32), (64, 64)], [True, True], 2),
    "the-first-of-equal-ones": ([(64, 64), (64, 64)], [True, True], 1),
    "the-default": ([(64, 64), (32, 32)], [False, True], 2),
    "the-default-of-equal-ones": ([(64, 64), (64, 64)], [False, True], 2),
}


@pytest.mark.skipif(not hasattr(av.stream.Stream, "discard"), reason="This PyAV cannot write dispositions.")
@pytest.mark.parametrize("sizes, defaults, chosen", STREAMS.values(), ids=STREAMS)
def test_the_stream_is_the_one_that_ffmpeg_chooses(sizes, defaults, chosen, tmp_path):
    path = tmp_path / "clip.mkv"
    path.write_bytes(two_streams(sizes, defaults, [False] * len(sizes)))
    frame = read_both_ways(path)
    assert int(frame.mean()) == 60 * chosen
    if FFMPEG:
        np.testing.assert_array_equal(frames_of_ffmpeg(path, frame.shape)[0], frame)


def test_transparency_is_over_white_whatever_the_strips():
    rgba = np.random.default_rng(0).integers(0, 256, (2100, 1000, 4), dtype=np.uint8)
    np.testing.assert_array_equal(_over_white(rgba), picture_to_rgb(PIL.Image.fromarray(rgba)))


@pytest.mark.parametrize("max_fps", [None, 5.0])
def test_frames_are_free_without_a_search_for_circles(max_fps: float | None) -> None:
    """Python seldom searches where there are many objects: frames would fill the memory meanwhile."""
    gc.collect()
    before = _decoded_frames()
    gc.disable()
    try:
        with open_source(example("demo.mp4"), max_fps=max_fps) as source:
            for number, frame in enumerate(source.frames()):
                assert frame.pixels.any()
                if number == 8:
                    assert _decoded_frames() - before <= 3
        read_frames(example("demo.mp4"), range)
        assert _decoded_frames() - before <= 3
    finally:
        gc.enable()


def _decoded_frames() -> int:
    return sum(type(one) is av.VideoFrame for one in gc.get_objects())
