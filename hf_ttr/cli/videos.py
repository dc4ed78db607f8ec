"""The videos of a folder that a user named."""

from __future__ import annotations

import os

from ..display import shown
from ..video.listing import list_videos
from .errors import InputError


def videos_in(folder: str) -> tuple[list[str], list[str]]:
    """
    The paths of the videos in a folder, and what the user should know of the rest.

    Raises:
        InputError: if it holds none.
    """
    listed = list_videos(folder)
    if not listed.videos:
        rest = f" (it has {len(listed.others)} other files)" if listed.others else ""
        raise InputError(f"The folder '{shown(folder)}' holds no video{rest}; pass another.")
    return [os.path.join(folder, *path.split("/")) for path in listed.videos], listed.notes()
