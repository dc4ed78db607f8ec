"""What a video may ask for: pixels, frames, tracks, bytes, seconds, redirections; checked before memory is taken."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import time

import av
import numpy as np
import PIL.Image
import pytest

import hf_ttr
from hf_ttr.streaming import SourceError, open_source
from hf_ttr.video import VideoDecodingError, VideoLimits, read_frames

from ..streaming.clips import encode, pictures, send, serving


def gif(side: int, frames: int = 1) -> bytes:
    """A picture of 1 x 1 on a screen as large as it says."""
    out = b"GIF89a" + struct.pack("<HHBBB", side, side, 0xF0, 0, 0) + b"\0\0\0\xff\xff\xff"
    for _ in range(frames):
        out += b"\x21\xf9\x04\x00\x04\x00\x00\x00\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return out + b"\x3b"


def png_header(side: int) -> bytes:
    """The beginning of a grey PNG of so many pixels; PIL and FFmpeg believe it."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("data", [gif(12000), gif(40000, 3), png_header(20000)], ids=["gif", "long-gif", "png"])
def test_a_small_file_that_declares_a_huge_picture_takes_no_memory(data, tmp_path):
    path = tmp_path / "bomb"
    path.write_bytes(data)
    code = (
        "import resource, sys\n"
        "from hf_ttr.streaming import open_source\n"
        "from hf_ttr.video import read_frames, VideoDecodingError\n"
        "base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "def stream(path):\n    return [frame.pixels for frame in open_source(path).frames()]\n"
        "for read in (lambda path: read_frames(path, None, lambda frame: 0), stream):\n"
        "    try:\n        read(sys.argv[1])\n        print('read')\n"
        "    except VideoDecodingError as error:\n        print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    *said, grown = done.stdout.splitlines()
    assert len(said) == 2 and all(line.endswith(".") for line in said)
    assert int(grown) < 200 * 1024


def test_the_limit_of_pixels_is_exact_and_settable():
    data = encode(pictures(3))
    limits = VideoLimits(pixels=48 * 64)
    assert len(read_frames(data, limits=limits)[0]) == len(list(open_source(data, limits=limits).frames())) == 3
    less = VideoLimits(pixels=48 * 64 - 1)
    message = r"has frames of 64 x 48, more than 3,071 pixels; make it smaller, or raise `pixels` of the limits\.$"
    with pytest.raises(VideoDecodingError, match=message):
        read_frames(data, limits=less)
    with pytest.raises(SourceError, match=message):
        open_source(data, limits=less)


def test_frames_of_which_a_decoder_would_hold_too_many_are_refused():
    frames = [np.zeros((2200, 4000, 3), np.uint8)]
    data = encode(frames, ("mp4", "libx264", "yuv444p10le"))
    limits = VideoLimits(pixels=4000 * 2200)
    message = r"has frames of 4000 x 2200 in the format 'yuv444p10le', of which a decoder may hold 1.3 GiB; make it"
    for read in (read_frames, open_source):
        with pytest.raises(VideoDecodingError, match=message):
            read(data, limits=limits)
    assert read_frames(data, limits=VideoLimits(pixels=4 * 4000 * 2200))[1].frames == 1
    # Of other formats, and of codecs that do not look back, as many pixels are fine.
    for kind in (("mp4", "libx264", "yuv420p"), ("matroska", "ffv1", "yuv444p10le")):
        assert read_frames(encode(frames, kind), limits=limits)[1].frames == 1


def test_frames_that_grow_on_the_way_obey_too():
    data = encode(pictures(5), "ts-mpeg2") + encode(pictures(5, 160, 200), "ts-mpeg2")
    limits = VideoLimits(pixels=100 * 100)
    with pytest.raises(VideoDecodingError, match="has frames of 200 x 160, more than 10,000 pixels|reading failed"):
        read_frames(data, limits=limits)
    source = open_source(data, limits=limits)
    given = []
    with pytest.raises(SourceError):
        for frame in source.frames():
            given.append(frame.pixels.shape)
    assert given and set(given) == {(48, 64, 3)}


def test_pictures_out_of_files_obey_before_they_are_decoded():
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (300, 200)).save(buffer, "PNG")
    with pytest.raises(VideoDecodingError, match="The picture has frames of 300 x 200, more than 1,000 pixels"):
        read_frames([PIL.Image.open(buffer)], limits=VideoLimits(pixels=1000))
    # What is in memory already is its maker's.
    assert read_frames([PIL.Image.new("RGB", (300, 200))], limits=VideoLimits(pixels=1000))[1].frames == 1


def test_frames_are_counted_up_to_a_limit():
    data = encode(pictures(6))
    assert read_frames(data, lambda total: [0], limits=VideoLimits(frames=6))[1].frames == 6
    with pytest.raises(VideoDecodingError, match="has more than 5 frames; cut it into pieces, or raise `frames`"):
        read_frames(data, lambda total: [0], limits=VideoLimits(frames=5))


def test_tracks_have_a_limit():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        streams = [container.add_stream("ffv1", rate=25) for _ in range(12)]
        for stream in streams:
            stream.width = stream.height = 16
            stream.pix_fmt = "gray"
        for stream in streams:
            frame = av.VideoFrame.from_ndarray(np.zeros((16, 16), np.uint8), format="gray")
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    assert read_frames(buffer.getvalue())[1].frames == 1
    with pytest.raises(VideoDecodingError, match="has more than 8 tracks; take out what|Cannot allocate"):
        read_frames(buffer.getvalue(), limits=VideoLimits(tracks=8))


def test_a_pipe_is_read_to_its_end_within_the_limit(tmp_path):
    data = encode(pictures(4))
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def fill() -> None:
        with open(path, "wb") as pipe:
            pipe.write(data)

    def filled(read):
        writer = threading.Thread(target=fill, daemon=True)
        writer.start()
        return read()

    assert filled(lambda: read_frames(path))[1].frames == 4
    assert len(filled(lambda: list(open_source(path).frames()))) == 4
    with pytest.raises(VideoDecodingError, match=r"is larger than 100 bytes; cut it into pieces, or raise `bytes`"):
        filled(lambda: read_frames(path, limits=VideoLimits(bytes=100)))


class Endless(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return b"\0" * max(size, 0)


def test_a_file_object_without_end_is_given_up():
    with pytest.raises(VideoDecodingError, match="is larger than 1,000,000 bytes"):
        read_frames(Endless(), limits=VideoLimits(bytes=10**6))


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_no_file(path):
    for read in (read_frames, open_source):
        with pytest.raises(VideoDecodingError, match=f"'{path}' is a device or a socket, and no file; pass a file"):
            read(path)


@pytest.mark.parametrize(
    "settings", [{"pixels": 0}, {"frames": 1.5}, {"redirects": -1}, {"seconds": 0}, {"bytes": True}], ids=str
)
def test_limits_that_are_none(settings):
    with pytest.raises(ValueError, match=f"the limit `{next(iter(settings))}` is .*; pass a larger number"):
        VideoLimits(**settings)


# ---------------------------------------------------------------------------------------------------------------------
# Downloads
# ---------------------------------------------------------------------------------------------------------------------


def refused(answer, message: str, **limits) -> float:
    """How long it took to refuse what a server gives."""
    began = time.monotonic()
    with serving(answer) as url:
        with pytest.raises(VideoDecodingError, match=message):
            read_frames(f"{url}/clip.mp4", limits=VideoLimits(**limits))
        return time.monotonic() - began


def test_a_download_is_bounded_by_what_it_says_and_by_what_it_gives():
    message = "is larger than 1,000 bytes; cut it into pieces, or raise `bytes` of the limits"
    refused(lambda handler: send(handler, b"x" * 2000), message, bytes=1000)

    def lies(handler):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(10_000):
            handler.wfile.write(b"x" * 1000)

    refused(lies, message, bytes=1000)


@pytest.mark.parametrize("in_headers", [True, False], ids=["headers", "body"])
def test_a_server_that_drips_is_given_up(in_headers):
    def drips(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" if in_headers else b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(100):
            handler.wfile.write(b"X-A: b\r\n" if in_headers else b"x")
            handler.wfile.flush()
            time.sleep(0.05)

    assert (
        refused(drips, r"could not be downloaded within 0.5 s; download it first, or raise `seconds`", seconds=0.5) < 3
    )


def test_compressed_content_is_not_unpacked():
    import gzip

    body = gzip.compress(b"\0" * 10**6)
    refused(
        lambda handler: send(handler, body, **{"Content-Encoding": "gzip"}),
        r"could not be downloaded \(it comes compressed as 'gzip', which was not asked for\)",
    )


def test_redirections_come_to_an_end():
    def again(handler):
        send(handler, b"", 302, Location=f"{handler.path}x")

    refused(again, r"could not be downloaded \(more than 3 redirections\); check the URL", redirects=3)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_decoder_has_as_many_threads_as_it_may_and_gives_the_same(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hf_ttr.video import reading

    path, decode, counts = hf_ttr.example("demo.mp4"), reading._frames, []

    def noting(container: object, stream: av.video.stream.VideoStream, check: object) -> object:
        counts.append(stream.thread_count)
        return decode(container, stream, check)

    expected, _ = read_frames(path, lambda total: range(8))
    monkeypatch.setattr(reading, "_frames", noting)
    found, _ = read_frames(path, lambda total: range(8), limits=VideoLimits(threads=threads))
    assert set(counts) == {threads}
    np.testing.assert_array_equal(found, expected)
