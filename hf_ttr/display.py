"""Text on its way out of the program: without secrets, and without what would steer a terminal, a log or a page.

What a user names (an address, a file) and what others wrote (a label of a checkpoint, an error of a library) goes
through `shown` before it is printed, logged, raised or written. It is made for eyes: files and addresses are opened by
what they were before.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator


HIDDEN = "***"
"""What stands for a secret within an address."""

LONGEST = 300
"""Characters of a name in a sentence."""

# The whole of an address, up to what ends it in a sentence.
_ADDRESS = re.compile(r"[a-z][\w+.-]+:/{2,}[^\s'\"<>]+", re.IGNORECASE)
# As curl takes it: no scheme, but a user, a password and a host.
_BARE = re.compile(r"^(?:[\w -]+=)?[^\s/@:\\]{2,}:(?!//)[^\s@]+@(?=[\w.\[-])")
# Cameras take them in the path, shops of files in the query: user=admin&password=..., X-Amz-Signature=...
_SECRET_NAME = r"[\w.%-]*(?:pass(?:w(?:or)?d)?|pwd|token|secret|key|sig|signature|auth|credential|jwt)[\w.%-]*"
_SECRET = re.compile(rf"(?<=[?&;/#,])({_SECRET_NAME}=)[^&;#\s'\"<>]+", re.IGNORECASE)
# Joiners hold scripts and emoji together; they steer nothing.
_HARMLESS = "\u200c\u200d"


def shown(text: object, longest: int | None = LONGEST) -> str:
    """
    A text as it may be shown to anybody: in one line, printable, without the passwords of the addresses in it.

    User and password of an address are left out, and secrets among its parameters replaced by `HIDDEN`. Characters
    that steer a terminal, turn the direction of writing or are no Unicode stand as escapes, such as `\\x1b`.

    Args:
        text (`object`): a name, an address, a message, a label; anything that is no `str` is turned to one.
        longest (`int`, *optional*): the number of characters after which it is cut off; all are shown with `None`.

    Returns:
        `str`: the text.

    Example:

    ```python
    >>> from hf_ttr.display import shown

    >>> print(shown("rtsp://admin:secret@door/live?token=1234"))
    rtsp://door/live?token=***
    >>> print(shown("cat\\x1b[2J"))
    cat\\x1b[2J
    ```
    """
    clean = printable(without_secrets(str(text)))
    return clean if longest is None or len(clean) <= longest else f"{clean[:longest]}..."


def without_secrets(text: str) -> str:
    """The text with the users, passwords and secret parameters of all addresses in it left out; else as it is."""
    if "=" not in text and "@" not in text:
        return text
    if re.match(r"[a-z][\w+.-]+:/{2,}[^\s]*[^\S\n][^\n]*@", text, re.IGNORECASE):
        # An address with a space in its password, by itself.
        return _safe_address(text)
    return _ADDRESS.sub(lambda found: _safe_address(found[0]), _BARE.sub("", text))


def _safe_address(address: str) -> str:
    scheme, slashes, rest = re.split(r"(:/{2,})", address, maxsplit=1)
    authority = re.match(r"[^/?#]*", rest)
    assert authority is not None
    host = authority[0]
    if "@" in host:
        rest = rest[len(host.rpartition("@")[0]) + 1 :]
    elif "@" in rest and ":" in host and not re.fullmatch(r"(?:\[[^\]]*\]|[^:]*):\d*", host):
        # What follows the colon is no port: a password with a slash, a question mark or a hash in it.
        rest = rest.rpartition("@")[2]
    return _SECRET.sub(rf"\1{HIDDEN}", f"{scheme}{slashes}{rest}")


def printable(text: str) -> str:
    """The text in one line, with escapes in place of the characters that are not to be seen but do something."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable() or character in _HARMLESS:
        return character
    if unicodedata.category(character) in ("Zs", "Co", "Cn"):  # other spaces, and what newer tables may know
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def as_unicode(text: str) -> str:
    """The text with escapes in place of what is no Unicode, such as bytes in the names of files."""
    return text.encode("utf-8", "backslashreplace").decode()


def scrub(error: BaseException) -> BaseException:
    """
    Takes the secrets out of an error and of those behind it, so that its traceback can be logged.

    Args:
        error (`BaseException`): an error of a library, changed in place.

    Returns:
        `BaseException`: the same error.
    """
    for link in chain_of(error):
        link.args = tuple(without_secrets(part) if isinstance(part, str) else part for part in link.args)
        for name in ("filename", "filename2", "strerror"):
            if isinstance(value := getattr(link, name, None), str):
                try:
                    setattr(link, name, without_secrets(value))
                except AttributeError:  # made of `args`
                    continue
    return error


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it, each once, whatever leads back to it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


__all__ = ["HIDDEN", "LONGEST", "as_unicode", "chain_of", "printable", "scrub", "shown", "without_secrets"]
