"""Variables of the environment in the texts of a file: `${NAME}`, `${NAME:-default}`, and `$$` for a dollar."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .secrets import FromEnvironment


_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<open>\{))"
)


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """
    A text with the values of the variables that it names.

    Args:
        text (`str`): a `$` before anything but `{` and `$` stands for itself. The default holds where a variable is
            not set, or empty.
        environment (`Mapping[str, str]`): such as `os.environ`.

    Returns:
        `str`: one that hides the values, if there are any.

    Raises:
        ValueError: if a variable is not set, or what follows `${` is no name; a sentence without its subject.

    Example:

    ```python
    >>> from hf_ttr.cameras.environment import fill_in

    >>> filled = fill_in("rtsp://me:${PASSWORD}@${HOST:-localhost}", {"PASSWORD": "1234"})
    >>> filled == "rtsp://me:1234@localhost", filled
    (True, 'rtsp://me:${PASSWORD}@${HOST}')
    ```
    """
    missing: list[str] = []
    has_values = False

    def value(found: re.Match[str]) -> str:
        nonlocal has_values
        if found["dollar"]:
            return "$"
        if found["open"]:
            raise ValueError(
                "has a ${ without the name of a variable; write ${NAME}, or $${ for these two characters."
            )
        has_values = True
        given = environment.get(found["name"])
        if found["default"] is not None:
            return given or found["default"]
        if given is None:
            missing.append(found["name"])
        return given or ""

    filled = _VARIABLE.sub(value, text)
    if missing:
        names = ", ".join(dict.fromkeys(missing))
        raise ValueError(
            f"needs the environment variable {names}, which is not set; set it, or write "
            f"${{{missing[0]}:-default}} with a default."
        )
    return FromEnvironment(filled, template(text)) if has_values else filled


def template(text: str) -> str:
    """The text without the defaults, as it may be shown."""
    return _VARIABLE.sub(lambda found: f"${{{found['name']}}}" if found["name"] else "$", text)
