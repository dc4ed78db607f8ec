"""The videos of a folder: the same list, in the same order, for everything that takes a folder of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..display import shown


VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".flv"),
    *(".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".tod", ".mod"),
    *(".wmv", ".asf", ".rm", ".rmvb", ".ogv", ".ogm", ".mxf", ".dv", ".nut", ".ivf", ".y4m", ".amv"),
    *(".mjpg", ".mjpeg", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".obu", ".gif", ".apng"),
)
"""How the names of videos end, in small letters."""


@dataclass
class VideoFolder:
    """What a folder holds.

    Attributes:
        videos (`list[str]`): Paths of the videos below it, relative to it and with `/`, in the order of their
            characters. Links that lead nowhere are among them.
        others (`list[str]`): Files whose names are not those of videos, and what is neither file nor folder.
        unread (`list[str]`): Folders that cannot be read.
    """

    videos: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def notes(self, kept: tuple[str, ...] = ()) -> list[str]:
        """What a user should know of what was left out, one sentence each; `kept` are names that have a use."""
        found = []
        if others := [name for name in self.others if name.rpartition("/")[2].lower() not in kept]:
            files = "1 file is no video" if len(others) == 1 else f"{len(others)} files are no videos"
            found.append(f"{files}, and left out; the first: {shown(others[0])}.")
        if self.unread:
            folders = "1 folder" if len(self.unread) == 1 else f"{len(self.unread)} folders"
            found.append(f"{folders} cannot be read; the first: {shown(self.unread[0])}.")
        return found


def list_videos(folder: str | os.PathLike[str]) -> VideoFolder:
    """Find the videos below a folder, by their names.

    Links are followed, but not in circles. Files and folders whose names begin with a dot are left out, as are those
    that macOS leaves behind (`._clip.mp4`).

    Args:
        folder (`str` or `os.PathLike`): The folder.

    Returns:
        `VideoFolder`: What is in it; a folder that cannot be read, or is none, is in `unread`.
    """
    found = VideoFolder()
    for path, is_file in _walk(os.fspath(folder), "", (), found.unread):
        is_video = is_file and os.path.splitext(path)[1].lower() in VIDEO_ENDINGS
        (found.videos if is_video else found.others).append(path)
    # By the parts of their paths, so that a folder stays together whatever its name.
    for names in (found.videos, found.others, found.unread):
        names.sort(key=lambda name: name.split("/"))
    return found


def _walk(
    folder: str, inside: str, above: tuple[tuple[int, int], ...], unread: list[str]
) -> Iterator[tuple[str, bool]]:
    """Paths relative to the first folder, and whether each is a file, or a link that leads nowhere."""
    try:
        own = os.stat(folder)
        entries = [entry.name for entry in os.scandir(folder)]
    except OSError:
        unread.append(inside or ".")
        return
    key = (own.st_dev, own.st_ino)
    if key in above and own.st_ino:
        return
    for name in entries:
        path, place = os.path.join(folder, name), f"{inside}/{name}" if inside else name
        if name.startswith("."):
            continue
        try:
            mode = os.stat(path).st_mode
        except OSError:  # a link that leads nowhere, or a file that cannot be looked at: reading it says why
            yield place, True
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(path, place, (*above, key), unread)
        else:
            yield place, stat.S_ISREG(mode)
