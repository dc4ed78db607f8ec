"""Reading videos: the right frames, of every kind of input, and one clear sentence when it cannot be done."""

import http.server
import io
import os
import re
import struct
import subprocess
import sys
import threading
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import PIL.Image
import pytest
import torch

from hf_ttr.video import VideoDecodingError, VideoInfo, iterate_frames, read_frames
from hf_ttr.video.picture import to_rgb


REAL_DATA = Path(os.environ.get("HF_TTR_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "real"))

# Container, codec and pixel format of the videos that the tests write.
LOSSLESS = ("matroska", "ffv1", "bgr0")
FORMATS = {
    "mkv-ffv1": LOSSLESS,
    "mov-png": ("mov", "png", "rgb24"),
    "avi-mjpeg": ("avi", "mjpeg", "yuvj420p"),
    "mp4-mpeg4-with-b-frames": ("mp4", "mpeg4", "yuv420p"),
    "ts-mpeg2": ("mpegts", "mpeg2video", "yuv420p"),
    "gif": ("gif", "gif", "rgb8"),
}


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame that tells its index by its grey level, and its sides by a white top left and a black top right."""
    frame = np.full((height, width, 3), 30 + 6 * index, dtype=np.uint8)
    frame[: height // 4, : width // 4] = 255
    frame[: height // 4, -(width // 4) :] = 0
    return frame


def index_of(frame: np.ndarray) -> int:
    return round((float(frame[frame.shape[0] // 2 :].mean()) - 30) / 6)


def encode(
    frames: list[np.ndarray],
    kind: tuple[str, str, str] = LOSSLESS,
    target: str | None = None,
    times: list[int] | None = None,
    sound_seconds: float = 0,
    rotation: int = 0,
    junk_after: int | None = None,
    **options: str,
) -> bytes:
    """Encode frames at 25 Hz, or at `times` in milliseconds; `junk_after` puts a packet of noise after this frame."""
    container_format, codec, pixels = kind
    buffer = io.BytesIO()
    with av.open(target or buffer, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=25, options={"bf": "2", "qmax": "2"} if codec == "mpeg4" else {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("pcm_s16le", rate=8000) if sound_seconds else None
        packets = []
        layouts = {1: "gray", 3: "rgb24", 4: "rgba"}
        for number, pixel_array in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixel_array, format=layouts[pixel_array.shape[2]])
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for number, packet in enumerate(packets):
            container.mux(packet)
            if number == junk_after:
                junk = av.Packet(np.random.default_rng(0).bytes(400))
                junk.stream, junk.time_base, junk.is_keyframe = stream, packet.time_base, True
                junk.pts, junk.dts = packet.pts + 1, packet.dts + 1
                container.mux(junk)
        if sound is not None:
            samples = np.zeros((1, int(8000 * sound_seconds)), dtype=np.int16)
            noise = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            noise.sample_rate = 8000
            for packet in [*sound.encode(noise), *sound.encode(None)]:
                container.mux(packet)
    return Path(target).read_bytes() if target else buffer.getvalue()


@pytest.fixture(scope="module")
def ten_frames() -> list[np.ndarray]:
    return [picture(index) for index in range(10)]


@pytest.fixture(scope="module")
def video(ten_frames) -> bytes:
    return encode(ten_frames)


# ---------------------------------------------------------------------------------------------------------------------
# The right frames
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
def test_index_i_is_the_ith_decoded_frame(kind, ten_frames):
    frames, info = read_frames(encode(ten_frames, kind), lambda total: [7, 0, 3, 3, total - 1])
    assert [index_of(frame) for frame in frames] == [7, 0, 3, 3, 9]
    assert (info.frames, info.width, info.height) == (10, 64, 48)
    assert {(frame.shape, str(frame.dtype)) for frame in frames} == {((48, 64, 3), "uint8")}


@pytest.mark.parametrize("size", [(48, 64), (5, 5), (1, 1), (37, 51)], ids=["even", "5px", "1px", "odd"])
@pytest.mark.parametrize("count", [1, 4], ids=["one-frame", "four-frames"])
def test_lossless_video_comes_back_bit_for_bit(size, count):
    given = list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8))
    frames, info = read_frames(encode(given))
    np.testing.assert_array_equal(frames, given)
    assert info == VideoInfo(frames=count, fps=25.0, width=size[1], height=size[0], duration=count / 25)


def test_a_rate_that_varies_leaves_the_duration_as_it_is_stated(ten_frames):
    times = [0, 40, 80, 120, 30000, 30040, 30080, 60000]
    _, info = read_frames(encode(ten_frames[:8], times=times))
    assert (info.frames, info.fps) == (8, 25.0) and info.duration == pytest.approx(60, abs=0.1)
    assert read_frames(ten_frames)[1].duration is None


def test_transform_sees_each_chosen_frame_once_and_the_others_never(video):
    seen = []
    kept, _ = read_frames(video, lambda total: [8, 2, 2], lambda frame: seen.append(index_of(frame)) or len(seen))
    assert seen == [2, 8]
    assert kept == [2, 1, 1]


def test_a_long_video_is_never_held_in_memory():
    given = [picture(index % 30, 240, 320) for index in range(120)]
    data = encode(given, ("mp4", "mpeg4", "yuv420p"))
    tracemalloc.start()
    frames, _ = read_frames(data, lambda total: range(0, total, 12), lambda frame: frame[::8, ::8].copy())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(frames) == 10
    assert peak < 8 * given[0].nbytes


def iterated(source, step: int = 1) -> tuple[list[np.ndarray], VideoInfo]:
    def whole():
        info = yield from iterate_frames(source, step)
        found.append(info)

    found: list[VideoInfo] = []
    return list(whole()), found[0]


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
def test_frames_one_after_the_other_are_those_that_are_read_at_once(kind, step, ten_frames):
    data = encode(ten_frames, kind)
    expected, info = read_frames(data, lambda total: range(0, total, step))
    frames, facts = iterated(io.BytesIO(data), step)
    np.testing.assert_array_equal(frames, expected)
    assert facts == info


@pytest.mark.parametrize("make", [list, np.array, torch.tensor], ids=["list", "array", "tensor"])
def test_frames_in_memory_one_after_the_other(make, ten_frames):
    source = make(ten_frames) if make is not torch.tensor else torch.from_numpy(np.array(ten_frames))
    frames, info = iterated(source, 4)
    np.testing.assert_array_equal(frames, ten_frames[::4])
    assert info == read_frames(source)[1]


def test_none_of_the_frames_one_after_the_other_is_kept():
    given = [picture(index % 30, 240, 320) for index in range(120)]
    data = encode(given, ("mp4", "mpeg4", "yuv420p"))
    tracemalloc.start()
    count = sum(1 for _ in iterate_frames(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 120
    assert peak < len(data) + 8 * given[0].nbytes


def test_frames_before_a_damage_come_one_after_the_other(ten_frames):
    frames = iterate_frames(encode(ten_frames, ("mov", "png", "rgb24"), junk_after=6))
    assert [index_of(next(frames)) for _ in range(7)] == list(range(7))
    with pytest.raises(VideoDecodingError, match="reading failed after 7 of 11 frames"):
        next(frames)


@pytest.mark.parametrize("step", [0, -1, 1.5, True])
def test_steps_are_positive(step, video):
    with pytest.raises(ValueError, match="`step` must be a positive integer, not"):
        next(iterate_frames(video, step))


def test_decoding_stops_at_the_last_chosen_frame(ten_frames):
    damaged = encode(ten_frames, ("mov", "png", "rgb24"), junk_after=6)
    frames, info = read_frames(damaged, lambda total: [0, 4])
    assert [index_of(frame) for frame in frames] == [0, 4]
    assert info.frames == 11
    with pytest.raises(VideoDecodingError, match="reading failed after 7 of 11 frames"):
        read_frames(damaged)


def test_packets_that_hold_no_frame_do_not_shift_the_choice(ten_frames, tmp_path):
    """A stream cut out of a broadcast starts with packets that cannot be decoded: 10 packets, 8 frames."""
    data = encode(ten_frames, ("mov", "png", "rgb24"))
    for _ in range(2):
        start = data.index(b"\x89PNG")
        data = data[:start] + b"\x00" * 8 + data[start + 8 :]
    calls = []

    def ends(total):
        calls.append(total)
        return [0, total - 1]

    frames, info = read_frames(data, ends)
    assert [index_of(frame) for frame in frames] == [2, 9]
    assert info.frames == 8
    assert calls == [10, 8]


def test_choosing_a_frame_that_does_not_exist_is_an_error(video):
    with pytest.raises(IndexError, match="`select` chose frame 10 of a video of 10 frames"):
        read_frames(video, lambda total: [total])


def test_grey_video_is_rgb():
    grey = [np.full((6, 8, 1), 100 + index, dtype=np.uint8) for index in range(3)]
    frames, _ = read_frames(encode(grey, ("matroska", "ffv1", "gray")))
    assert [frame.shape for frame in frames] == [(6, 8, 3)] * 3
    assert [int(frame.max()) for frame in frames] == [100, 101, 102]


def test_transparent_video_is_rgb_over_white():
    frame = np.zeros((6, 8, 4), dtype=np.uint8)
    frame[:, :4] = (200, 0, 0, 255)
    frames, _ = read_frames(encode([frame], ("mov", "png", "rgba")))
    assert frames[0][0, 0].tolist() == [200, 0, 0]
    assert frames[0][0, 7].tolist() == [255, 255, 255]


@pytest.mark.skipif(not hasattr(av.VideoStream, "set_display_rotation"), reason="This PyAV cannot write a rotation.")
@pytest.mark.parametrize(
    "degrees, white, black",
    [(90, "bottom left", "top left"), (-90, "top right", "bottom right"), (180, "bottom right", "bottom left")],
)
def test_rotation_is_applied(degrees, white, black):
    frames, info = read_frames(encode([picture(1)], ("mp4", "mpeg4", "yuv420p"), rotation=degrees))
    assert frames[0].shape == ((48, 64, 3) if degrees == 180 else (64, 48, 3))
    assert (info.height, info.width) == frames[0].shape[:2]
    corners = {"top left": (2, 2), "top right": (2, -3), "bottom left": (-3, 2), "bottom right": (-3, -3)}
    assert frames[0][corners[white]].min() > 200
    assert frames[0][corners[black]].max() < 30


# ---------------------------------------------------------------------------------------------------------------------
# Every kind of input
# ---------------------------------------------------------------------------------------------------------------------


class Unseekable(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self.file.read(size)


def half_read(path: Path) -> io.BytesIO:
    file = io.BytesIO(path.read_bytes())
    file.read(100)
    return file


SOURCES = {
    "str": str,
    "path": lambda path: path,
    "file-url": lambda path: path.as_uri(),
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "open-file": lambda path: path.open("rb"),
    "half-read-file": half_read,
    "unseekable-file": lambda path: Unseekable(path.read_bytes()),
    "datasets-bytes": lambda path: {"path": None, "bytes": path.read_bytes()},
    "datasets-path": lambda path: {"path": str(path), "bytes": None},
}


@pytest.mark.parametrize("as_source", SOURCES.values(), ids=SOURCES)
def test_every_form_of_a_file_gives_the_same_frames(as_source, video, ten_frames, tmp_path):
    path = tmp_path / "a video: 100%d.mkv"  # a name that FFmpeg would take for a protocol or a pattern
    path.write_bytes(video)
    frames, info = read_frames(as_source(path))
    np.testing.assert_array_equal(frames, ten_frames)
    assert info.frames == 10


@pytest.fixture
def server(video):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n"
            status, body = {
                "/clip.mkv": (200, video),
                "/moved": (302, b""),
                "/to-a-file": (302, b""),
                "/list.m3u8": (200, playlist),
                "/empty": (200, b""),
            }.get(self.path, (404, b"no"))
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/clip.mkv" if self.path == "/moved" else "file:///etc/hostname")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("page", ["clip.mkv", "moved"])
def test_url(server, page, ten_frames):
    frames, _ = read_frames(f"{server}/{page}")
    np.testing.assert_array_equal(frames, ten_frames)


@pytest.mark.parametrize(
    "page, fault",
    [
        ("nothing", r"could not be downloaded \(HTTP status 404\)"),
        ("empty", r"is empty \(0 bytes\)"),
        ("to-a-file", r"could not be downloaded \(it leads to 'file:///etc/hostname', which is no http\(s\) URL\)"),
        ("list.m3u8", r"is not a video in a format that FFmpeg reads \(.*\)"),
    ],
)
def test_url_without_a_video(server, page, fault):
    with pytest.raises(VideoDecodingError, match=f"^The video '{server}/{page}' {fault}; .*\\.$"):
        read_frames(f"{server}/{page}")


def test_url_without_a_server():
    with pytest.raises(VideoDecodingError, match="could not be downloaded .*; check the URL and network.$"):
        read_frames("http://127.0.0.1:9/clip.mkv")


ARRAY = np.random.default_rng(1).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
LAYOUTS = {
    "array-channels-last": ARRAY,
    "array-channels-first": ARRAY.transpose(0, 3, 1, 2),
    "tensor-channels-last": torch.from_numpy(ARRAY),
    "tensor-channels-first": torch.from_numpy(ARRAY).permute(0, 3, 1, 2),
    "int64": ARRAY.astype(np.int64),
    "float-255": ARRAY.astype(np.float32),
    "float-unit": ARRAY.astype(np.float32) / 255,
    "double-unit": ARRAY / 255,
    "half-tensor-unit": torch.from_numpy(ARRAY / 255).half(),
    "bfloat16-tensor-255": torch.from_numpy(ARRAY).bfloat16().float().bfloat16(),
    "list-of-arrays": list(ARRAY),
    "list-of-channels-first-tensors": list(torch.from_numpy(ARRAY).permute(0, 3, 1, 2)),
    "tuple-of-pictures": tuple(PIL.Image.fromarray(frame) for frame in ARRAY),
}


@pytest.mark.parametrize("source", LAYOUTS.values(), ids=LAYOUTS)
def test_every_form_of_frames_in_memory(source):
    frames, info = read_frames(source)
    expected = (
        torch.from_numpy(ARRAY).bfloat16().float().numpy()
        if getattr(source, "dtype", None) == torch.bfloat16
        else ARRAY
    )
    np.testing.assert_array_equal(frames, expected)
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert (info.frames, info.fps, info.width, info.height) == (3, None, 8, 6)


@pytest.mark.parametrize("name", LAYOUTS)
def test_unit_range_is_reported(name):
    assert read_frames(LAYOUTS[name])[1].unit_range == name.endswith("unit")


def test_one_picture_is_a_video_of_one_frame():
    frames, info = read_frames(PIL.Image.fromarray(ARRAY[0]))
    np.testing.assert_array_equal(frames, ARRAY[:1])
    assert info.frames == 1


GREY = ARRAY[0, :, :, :1]
CLEAR = np.concatenate([ARRAY[0], np.zeros_like(GREY)], axis=-1)
TO_RGB = {
    "grey-array": (GREY[None], np.repeat(GREY, 3, axis=-1)),
    "grey-frames-without-channels": ([GREY[..., 0]], np.repeat(GREY, 3, axis=-1)),
    "grey-picture": ([PIL.Image.fromarray(GREY[..., 0])], np.repeat(GREY, 3, axis=-1)),
    "clear-array": (CLEAR[None], np.full_like(ARRAY[0], 255)),
    "clear-array-channels-first": (CLEAR.transpose(2, 0, 1)[None], np.full_like(ARRAY[0], 255)),
    "clear-picture": ([PIL.Image.fromarray(CLEAR)], np.full_like(ARRAY[0], 255)),
    "palette-picture": ([PIL.Image.fromarray(GREY[..., 0]).convert("P")], np.repeat(GREY, 3, axis=-1)),
}


@pytest.mark.parametrize("source, expected", TO_RGB.values(), ids=TO_RGB)
def test_grey_and_transparent_frames_become_rgb(source, expected):
    np.testing.assert_array_equal(read_frames(source)[0][0], expected)


@pytest.mark.parametrize(
    "source", [GREY[None], CLEAR[None], [PIL.Image.fromarray(CLEAR)]], ids=["grey", "clear", "picture"]
)
def test_channels_are_kept_without_convert_rgb(source):
    frame = read_frames(source, convert_rgb=False)[0][0]
    np.testing.assert_array_equal(frame, GREY if frame.shape[2] == 1 else CLEAR)


def test_input_data_format_settles_an_ambiguous_shape():
    array = np.arange(2 * 3 * 5 * 3, dtype=np.uint8).reshape(2, 3, 5, 3)
    np.testing.assert_array_equal(read_frames(array)[0], array)
    frames, info = read_frames(array, input_data_format="channels_first")
    np.testing.assert_array_equal(frames, array.transpose(0, 2, 3, 1))
    assert (info.height, info.width) == (5, 3)


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be read
# ---------------------------------------------------------------------------------------------------------------------


def assert_refused(source, message: str) -> None:
    """The message is one sentence: it names the video, then the fault, then the remedy after a semicolon."""
    with pytest.raises(VideoDecodingError) as caught:
        read_frames(source)
    text = str(caught.value)
    assert message in text
    assert text.endswith(".") and "; " in text and "\n" not in text
    with pytest.raises(VideoDecodingError, match=re.escape(text)):
        iterated(source)


FILES = {
    "empty": (b"", "is empty (0 bytes)"),
    "noise": (np.random.default_rng(2).bytes(5000), "is not a video in a format that FFmpeg reads"),
    "text": (b"Hello, this is a text.\n" * 50, "is not a video in a format that FFmpeg reads"),
    "subtitles": (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "has no video stream (it holds: subtitles)"),
    "playlist": (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nclip.mkv\n#EXT-X-ENDLIST\n", "is not a video"),
    "list-of-files": (b"ffconcat version 1.0\nfile clip.mkv\n", "is not a video in a format that FFmpeg reads"),
}


@pytest.mark.parametrize("suffix", [".mp4", ".txt", ".m3u8", ".ffconcat"])
@pytest.mark.parametrize("content, message", FILES.values(), ids=FILES)
def test_file_that_is_no_video(content, message, suffix, video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mkv").write_bytes(video)  # what the lists name exists, and is not opened for all that
    path = tmp_path / f"no video{suffix}"
    path.write_bytes(content)
    assert_refused(path, f"The video '{path}' {message}")


def test_sound_has_no_video_stream(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    assert_refused(path, f"The video '{path}' has no video stream (it holds: audio)")


PATHS = {
    "missing": ("nowhere/clip.mp4", "does not exist; check the path"),
    "missing-file-url": ("file:///nowhere/clip.mp4", "does not exist; check the path"),
    "folder": (os.sep, "is a folder"),
    "rtsp": ("rtsp://127.0.0.1/live", "uses a protocol that is not read"),
    "ftp": ("ftp://127.0.0.1/clip.mp4", "uses a protocol that is not read"),
    "concat": ("concat:a.ts|b.ts", "uses a protocol that is not read"),
    "subfile": ("subfile,,start,0,end,9,,:clip.mp4", "uses a protocol that is not read"),
    "data": ("data:video/mp4;base64,AAAA", "uses a protocol that is not read"),
}


@pytest.mark.parametrize("text, message", PATHS.values(), ids=PATHS)
def test_path_that_is_no_file(text, message):
    assert_refused(text, f"The video '{text}' {message}")


@pytest.mark.parametrize(
    "source", [None, 3, {"path": None, "bytes": None}, object()], ids=["none", "number", "empty-dict", "object"]
)
def test_object_that_is_no_video(source):
    assert_refused(source, "A video cannot be read from an object of type")


def test_file_opened_as_text(tmp_path):
    path = tmp_path / "clip.txt"
    path.write_text("text")
    with open(path) as file:
        assert_refused(file, "is opened as text")


TRUNCATED = {
    "mkv": (LOSSLESS, {}, 0.6, "is cut off: it holds"),
    "avi": (("avi", "mjpeg", "yuvj420p"), {}, 0.6, "is cut off: it holds"),
    "mp4-index-first": (("mp4", "mpeg4", "yuv420p"), {"movflags": "faststart"}, 0.6, "is cut off: it holds"),
    "mp4-index-last": (("mp4", "mpeg4", "yuv420p"), {}, 0.6, "is an MP4 file cut off before its index"),
}


@pytest.mark.parametrize("kind, options, share, message", TRUNCATED.values(), ids=TRUNCATED)
def test_truncated_file(kind, options, share, message, tmp_path):
    noise = np.random.default_rng(3).integers(0, 256, (40, 48, 64, 3), dtype=np.uint8)
    path = tmp_path / "clip"
    encode(list(noise), kind, target=str(path), **options)
    assert len(read_frames(path)[0]) == 40
    os.truncate(path, int(path.stat().st_size * share))
    assert_refused(path, f"The video '{path}' {message}")


def test_damage_in_the_middle(ten_frames):
    assert_refused(
        encode(ten_frames, ("mov", "png", "rgb24"), junk_after=4),
        "The video given as bytes is damaged or cut off: reading failed after 5 of 11",
    )


def trimmed(data: bytes) -> bytes:
    """Let the edit list of an MP4 file show its frames from 0.4 s to 0.8 s only."""
    position = data.index(b"elst") + 12
    scale = struct.unpack(">I", data[(header := data.index(b"mdhd")) + 16 : header + 20])[0]
    movie_scale = struct.unpack(">I", data[(header := data.index(b"mvhd")) + 16 : header + 20])[0]
    return data[:position] + struct.pack(">Ii", int(0.4 * movie_scale), int(0.4 * scale)) + data[position + 8 :]


FORTY = [picture(index % 30) for index in range(40)]
ODD = {
    "variable-rate": (lambda: encode(FORTY[:12], times=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 9000]), 12),
    "variable-rate-slow-start": (
        lambda: encode(FORTY[:12], times=[0, 40, 80, 120, 3000, 6000, 9000, *range(9001, 9006)]),
        12,
    ),
    "variable-rate-late-start": (lambda: encode(FORTY[:5], times=[1000, 1010, 1500, 1501, 4000]), 5),
    "longer-sound": (lambda: encode(FORTY[:5], sound_seconds=4), 5),
    "live-without-duration": (lambda: encode(FORTY, live="1"), 40),
    "fragmented": (lambda: encode(FORTY, FORMATS["mp4-mpeg4-with-b-frames"], movflags="frag_keyframe+empty_moov"), 40),
    "trimmed": (lambda: trimmed(encode(FORTY, ("mp4", "mpeg4", "yuv420p"))), 10),
}


@pytest.mark.parametrize("make, count", ODD.values(), ids=ODD)
def test_odd_but_complete_files_are_read(make, count):
    frames, info = read_frames(make())
    assert len(frames) == info.frames == count


ARRAYS = {
    "no-frame-array": (np.zeros((0, 6, 8, 3), np.uint8), "holds no frame"),
    "no-frame-list": ([], "holds no frame"),
    "no-pixel": (np.zeros((2, 0, 8, 3), np.uint8), "have no pixel (0 x 8)"),
    "three-axes": (np.zeros((6, 8, 3), np.uint8), "The array of shape (6, 8, 3) is not a video"),
    "two-channels": (np.zeros((2, 6, 8, 2), np.uint8), "without an axis of 1, 3 or 4 channels"),
    "five-channels-first": (torch.zeros(2, 5, 6, 8), "without an axis of 1, 3 or 4 channels"),
    "changing-arrays": (
        [np.zeros((6, 8, 3), np.uint8), np.zeros((6, 9, 3), np.uint8)],
        "change size, from (6, 8, 3) to (6, 9, 3)",
    ),
    "changing-pictures": (
        [PIL.Image.new("RGB", (8, 6)), PIL.Image.new("RGB", (9, 6))],
        "change size, from (6, 8) to (6, 9)",
    ),
    "mixed-list": ([PIL.Image.new("RGB", (8, 6)), np.zeros((6, 8, 3), np.uint8)], "The list is not one video"),
    "list-of-names": (["a.png", "b.png"], "The list is not one video"),
    "nan": (np.full((1, 6, 8, 3), np.nan), "has NaN or infinite pixels"),
    "one-infinite-pixel": (
        torch.tensor([1.0] * 143 + [float("inf")]).reshape(1, 6, 8, 3),
        "has NaN or infinite pixels",
    ),
    "normalised": (np.linspace(-1, 1, 144).reshape(1, 6, 8, 3), "go from -1 to 1"),
    "sixteen-bits": (np.full((1, 6, 8, 3), 1000, np.uint16), "go from 1000 to 1000"),
    "boolean": (np.zeros((1, 6, 8, 3), bool), "have the type bool"),
}


@pytest.mark.parametrize("source, message", ARRAYS.values(), ids=ARRAYS)
def test_arrays_that_are_no_video(source, message):
    assert_refused(source, message)


def test_unknown_input_data_format():
    with pytest.raises(ValueError, match="`input_data_format` is 'channels_first' or 'channels_last', not 'HWC'"):
        read_frames(ARRAY, input_data_format="HWC")


def test_files_need_no_torch(tmp_path, video):
    (tmp_path / "clip.mkv").write_bytes(video)
    code = (
        "import sys; sys.modules['torch'] = None; from hf_ttr.video import read_frames; "
        "from hf_ttr.video.processing import TemporalReuseVideoProcessor as Processor; "
        "frames, _ = read_frames(sys.argv[1]); "
        "print(len(frames), Processor(size={'height': 6, 'width': 8})(sys.argv[1])['pixel_values'][0].shape)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "clip.mkv")], check=True, capture_output=True)
    assert run.stdout == b"10 (10, 3, 6, 8)\n"


def test_frames_in_memory_need_no_pyav():
    code = (
        "import sys; sys.modules['av'] = None; import numpy; from hf_ttr.video import read_frames; "
        "print(len(read_frames(numpy.zeros((3, 6, 8, 3), 'uint8'))[0]))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout == b"3\n"


# ---------------------------------------------------------------------------------------------------------------------
# Real videos
# ---------------------------------------------------------------------------------------------------------------------


def real_videos() -> list[Path]:
    found = (
        sorted((REAL_DATA / "videos").rglob("*.*")) + sorted((REAL_DATA / "fight_surv" / "test").rglob("*.mp4"))[::4]
    )
    return [path for path in found if path.suffix in (".mp4", ".mkv", ".avi")]


def test_real_videos_are_read_to_the_end():
    if not (paths := real_videos()):
        pytest.skip("The real videos are not on this machine: set HF_TTR_REAL_DATA to their folder.")
    for path in paths:
        frames, info = read_frames(path, lambda total: [0, total // 2, total - 1])
        with av.open(str(path)) as container:
            largest = max(container.streams.video, key=lambda stream: stream.width * stream.height)
            expected = dict(enumerate(container.decode(largest)))
        assert info.frames == len(expected), path
        for index, frame in zip((0, info.frames // 2, info.frames - 1), frames):
            np.testing.assert_array_equal(frame, to_rgb(expected[index]), err_msg=str(path))
