"""Texts that are used but not shown: what the environment gave, addresses with passwords, and webhooks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from ..display import HIDDEN, shown


class FromEnvironment(str):
    """
    A text with values of the environment in it, which is shown as it was written.

    Args:
        text (`str`): with the values.
        template (`str`): with their names in their place, such as `"${PASSWORD}"`.
    """

    template: str

    def __new__(cls, text: str, template: str) -> FromEnvironment:
        """Makes the text, which knows how it was written."""
        made = super().__new__(cls, text)
        made.template = template
        return made

    def __reduce__(self) -> tuple[type[FromEnvironment], tuple[str, str]]:
        return FromEnvironment, (str(self), self.template)

    def __repr__(self) -> str:
        return repr(self.template)


class Address(SecretStr):
    """
    An address, or a path, that is shown without users, passwords and secret parameters.

    Args:
        text (`str`): what it is; `get_secret_value` gives it back.

    Example:

    ```python
    >>> from hf_ttr.cameras.secrets import Address

    >>> address = Address("rtsp://admin:1234@10.0.0.5/stream")
    >>> print(address)
    rtsp://10.0.0.5/stream
    >>> address.get_secret_value()
    'rtsp://admin:1234@10.0.0.5/stream'
    ```
    """

    def __init__(self, text: str) -> None:
        super().__init__(str(text))
        self._written = text.template if isinstance(text, FromEnvironment) else str(text)

    def _display(self) -> str:
        return shown(self._written)


class WebhookAddress(Address):
    """The address of a webhook, of which the host alone is shown: many have their password in the path."""

    def _display(self) -> str:
        host = re.match(r"(?:https?://)?[^/?#]*", shown(self._written, None), re.IGNORECASE)
        assert host is not None
        return f"{shown(host[0])}/{HIDDEN}"


def has_environment(value: Any) -> bool:
    """Whether something of a value came out of the environment."""
    if isinstance(value, Mapping):
        return any(map(has_environment, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return any(map(has_environment, value))
    return isinstance(value, FromEnvironment)


def plain(value: Any) -> Any:
    """A value of the environment as YAML would read it where no text is meant: a number, true, false or nothing."""
    if not isinstance(value, FromEnvironment):
        return value
    text = value.strip()
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return value


_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def said(value: Any) -> str:
    """A value of a file of settings in the middle of a sentence, without what the environment gave."""
    if isinstance(value, FromEnvironment):
        return f"'{shown(value.template)}'"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{shown(value)}'"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, Sequence):
        inner = ", ".join("..." if isinstance(one, (Mapping, list, tuple)) else said(one) for one in value)
        return shown(f"[{inner}]")
    return shown(value)
