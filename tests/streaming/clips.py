"""Tiny videos whose frames tell their index, and servers that misbehave on demand."""

from __future__ import annotations

import http.server
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


# Container, codec and pixel format.
FORMATS = {
    "mp4-h264": ("mp4", "libx264", "yuv420p"),
    "mkv-ffv1": ("matroska", "ffv1", "bgr0"),
    "ts-h264": ("mpegts", "libx264", "yuv420p"),
    "ts-mpeg2": ("mpegts", "mpeg2video", "yuv420p"),
    "avi-mjpeg": ("avi", "mjpeg", "yuvj420p"),
    "gif": ("gif", "gif", "rgb8"),
    "apng-alpha": ("apng", "apng", "rgba"),
    "mkv-gray": ("matroska", "ffv1", "gray"),
    "mkv-10-bit": ("matroska", "ffv1", "yuv420p10le"),
    "mov-palette": ("mov", "png", "pal8"),
}


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A frame of shape (height, width, 3) that tells its index by its grey level."""
    return np.full((height, width, 3), 20 + 6 * index, dtype=np.uint8)


def pictures(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    return [picture(index, height, width) for index in range(count)]


def index_of(pixels: np.ndarray) -> int:
    return round((float(pixels.mean()) - 20) / 6)


def noise(count: int, height: int = 48, width: int = 64, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def encode(
    frames: Sequence[np.ndarray],
    kind: str | tuple[str, str, str] = "mkv-ffv1",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    codec_options: dict[str, str] | None = None,
    target: str | None = None,
    **options: str,
) -> bytes:
    """Encode frames at 25 Hz, or at `times` in milliseconds; some options of containers need a file as `target`."""
    container_format, codec, pixels = FORMATS[kind] if isinstance(kind, str) else kind
    buffer = io.BytesIO()
    if codec == "libx264":
        codec_options = {"preset": "ultrafast", "crf": "1", **(codec_options or {})}
    with av.open(target or buffer, "w", format=container_format, options=options) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        if rotation:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        packets: list[av.Packet] = []
        for number, array in enumerate(frames):
            if pixels == "pal8":
                frame = palette_frame(array)
            else:
                frame = av.VideoFrame.from_ndarray(array, format={3: "rgb24", 4: "rgba"}[array.shape[2]])
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for packet in packets:
            container.mux(packet)
    return Path(target).read_bytes() if target else buffer.getvalue()


def palette_frame(array: np.ndarray) -> av.VideoFrame:
    """A grey picture as a palette picture."""
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0] = 255  # opaque
    palette[:, 1:] = np.arange(256)[:, None]
    return av.VideoFrame.from_ndarray((array[..., 0].copy(), palette), format="pal8")


def packets_of(data: bytes) -> list[tuple[int, int]]:
    """The place and size of each packet of the video, in the file."""
    with av.open(io.BytesIO(data)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


@contextmanager
def serving(answer: Callable[[http.server.BaseHTTPRequestHandler], None], port: int = 0) -> Iterator[str]:
    """A server on this machine that answers each GET with `answer`; gives its URL, and breaks off all at the end."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.connections.append(self.connection)
            with suppress(OSError):  # the client went away, or the server was stopped
                answer(self)

        def log_message(self, *arguments: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *arguments: Any) -> None:
            pass

    with Server(("127.0.0.1", port), Handler) as server:
        server.connections = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            for connection in server.connections:
                with suppress(OSError):
                    connection.shutdown(2)


def send(handler: http.server.BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
