"""An RTSP server of GStreamer, a process of its own, that sends the pictures of a folder as H.264 again and again."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path


SYSTEM_PYTHON = "/usr/bin/python3"
"""The interpreter for which distributions have the bindings of GStreamer."""

_BINDINGS = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
"""
_SERVER = (
    _BINDINGS
    + """
import sys
port, launch, user, password = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(launch)
factory.set_shared(True)
if user:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    factory.add_role_from_structure(Gst.Structure.new_from_string(
        "user, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"
    ))
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
loop = GLib.MainLoop()
# Whoever began it holds the other end, and is gone when that closes.
GLib.io_add_watch(sys.stdin, GLib.IO_HUP, lambda *event: loop.quit())
loop.run()
"""
)


def has_gstreamer() -> bool:
    """Whether GStreamer's RTSP server and an encoder of H.264 are installed."""
    command = [SYSTEM_PYTHON, "-c", f"{_BINDINGS}assert Gst.ElementFactory.find('x264enc')"]
    return os.path.exists(SYSTEM_PYTHON) and not subprocess.run(command, capture_output=True).returncode


def server_command(
    port: int, folder: Path, count: int, fps: int, user: str = "", password: str = "", threads: int = 0
) -> list[str]:
    """
    What starts a server at `rtsp://127.0.0.1:PORT/live`; it ends when its standard input is closed.

    Args:
        port: of this machine.
        folder: with pictures `0.jpg` and so on, of one size, which may be replaced at any time.
        count: of the pictures.
        fps: pictures a second.
        user, password: which it wants, if given.
        threads: of the encoder; 0 for as many as it likes.
    """
    launch = (
        f"( multifilesrc location={folder}/%d.jpg start-index=0 stop-index={count - 1} loop=true "
        f"caps=image/jpeg,framerate={fps}/1 ! jpegdec ! videoconvert ! video/x-raw,format=I420 ! identity sync=true "
        f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} threads={threads} ! "
        "rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    return [SYSTEM_PYTHON, "-c", _SERVER, str(port), launch, user, password]


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def replace_pictures(folder: Path, pictures: list[bytes]) -> None:
    """Shows other pictures, JPEGs of the same size, from the next one on."""
    for number, picture in enumerate(pictures):
        temporary = folder / "next"
        temporary.write_bytes(picture)
        temporary.replace(folder / f"{number}.jpg")
