"""Which files this package made, so that it replaces no others."""

from __future__ import annotations

import os

from ..display import shown


MARK = "hf-ttr"
"""Stands in what is drawn: as the generator of a page, the software of a PNG, the comment of a GIF or an MP4."""

_HTML_MARK = f'<meta name="generator" content="{MARK}">'
_HEAD = 4096


class TakenError(ValueError):
    """Something that others made would be replaced; the message is one sentence."""


def check_replaceable(path: str | os.PathLike[str], option: str, overwrite: bool = False) -> None:
    """
    Looks whether a file may be written: it is not there, was drawn by this package, or may be replaced.

    Args:
        path (`str` or `os.PathLike`): of the file.
        option (`str`): that named it, for the sentence, such as `"--out"`.
        overwrite (`bool`): whether any file may be replaced.

    Raises:
        TakenError: if there is something else.
    """
    if os.path.isdir(path):
        raise TakenError(f"'{shown(os.fspath(path))}' is a folder; pass another {option}.")
    if not overwrite and os.path.lexists(path) and not is_ours(path):
        raise TakenError(
            f"'{shown(os.fspath(path))}' is there already, and was not made by hf-ttr; pass another {option}, or "
            "--overwrite to replace it."
        )


def is_ours(path: str | os.PathLike[str]) -> bool:
    """Whether a page, picture or video was drawn by this package, by the mark in it."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if not os.path.isfile(path):
        return False
    try:
        if ending in (".html", ".htm"):
            with open(path, "rb") as page:
                return _HTML_MARK.encode() in page.read(_HEAD)
        if ending in (".png", ".gif"):
            return _mark_of_picture(path) == MARK
        return ending == ".mp4" and _mark_of_video(path) == MARK
    # Whatever a reader says of it: it is not ours.
    except Exception:
        return False


def _mark_of_picture(path: str | os.PathLike[str]) -> str:
    from PIL import Image

    with open(path, "rb") as file, Image.open(file, formats=("PNG", "GIF")) as picture:
        found = picture.info.get("Software", picture.info.get("comment", ""))
    return found.decode("ascii", "replace") if isinstance(found, bytes) else str(found)


def _mark_of_video(path: str | os.PathLike[str]) -> str:
    import av

    with open(path, "rb") as file, av.open(file, format="mp4") as container:
        return str(container.metadata.get("comment", ""))


__all__ = ["MARK", "TakenError", "check_replaceable", "is_ours"]
