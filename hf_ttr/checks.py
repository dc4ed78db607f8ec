"""What settings are asked, and how the answer fits into a sentence."""

from __future__ import annotations

from math import isfinite
from typing import Any


class ContractError(ValueError):
    """Code of the user's own did not do what it has to; the message is one sentence that says what."""


def is_whole(value: Any) -> bool:
    """Whether a value is a whole number, and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_counts(**counts: Any) -> None:
    """
    Looks whether settings are whole numbers of at least 1.

    Raises:
        ValueError: if one is not; one sentence.
    """
    for name, value in counts.items():
        if not is_whole(value) or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be a whole number of at least 1.")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and not a truth value."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def height_and_width(size: Any) -> tuple[int, int]:
    """The two sides of a picture or a patch, which a config may give as one number."""
    return (size[0], size[1]) if isinstance(size, (list, tuple)) else (size, size)


def first_line(error: BaseException) -> str:
    """What an error says, short enough for the middle of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    # A message that quotes a traceback says in its last line what happened.
    line = lines[-1] if any(line.startswith("Traceback (most recent call last)") for line in lines) else lines[0]
    return (line if len(line) <= 200 else f"{line[:200]}...").rstrip(".:")


def check_attention_takes_masks(implementation: str | None, device: str) -> None:
    """
    Looks whether an attention can be given a mask, without which rows that stand for many tokens count as one.

    Args:
        implementation (`str`, *optional*): its name in transformers' attention interface.
        device (`str`): the type of the device, such as `"cpu"`.

    Raises:
        ValueError: if torch would end the process.
    """
    if implementation == "flex_attention" and device == "cpu":
        raise ValueError(
            "the attention 'flex_attention' cannot be given a mask on the CPU, where torch ends the process; load the "
            "model with attn_implementation='sdpa', or move it to a GPU."
        )
