"""What the source of a checkpoint says of itself: base model, licence and data, out of its own card."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .text import LICENSE


_SNAPSHOT = re.compile(r"/models--([\w.-]+?)(?:--([\w.-]+))?/snapshots/[0-9a-f]+/?$")
"""Where the cache of the Hub has a model."""

_LARGEST = 1 << 20
"""Bytes of a card that is read."""


@dataclass(frozen=True)
class SourceFacts:
    """
    What is known of where a checkpoint comes from.

    Attributes:
        base_model (`str`, *optional*): its id on the Hub.
        license (`str`, *optional*): as the Hub names it.
        datasets (`list[str]`): Hub ids of what it was trained on.
    """

    base_model: str | None = None
    license: str | None = None
    datasets: list[str] = field(default_factory=list)


def source_facts(model: str | os.PathLike[str]) -> SourceFacts:
    """
    Looks at the card of a checkpoint; what is not there, or cannot be read, is not known.

    Args:
        model (`str` or `os.PathLike`): folder or Hub id. The base model of what is made of a Hub id is that; of a
            folder, what its card names, or where the cache of the Hub has it.
    """
    name = os.fspath(model)
    is_folder = os.path.isdir(name)
    card = _metadata(os.path.join(name, "README.md") if is_folder else _fetched(name))
    base = (_id_of_snapshot(name) or _only(card.get("base_model"))) if is_folder else name
    license_, datasets = card.get("license"), card.get("datasets")
    datasets = datasets if isinstance(datasets, list) else [datasets]
    return SourceFacts(
        base if _is_hub_id(base) else None,
        license_ if isinstance(license_, str) and LICENSE.fullmatch(license_) else None,
        [name for name in datasets if _is_hub_id(name)],
    )


def _fetched(model: str) -> str | None:
    """The card of a model of the Hub, on this machine."""
    from transformers.utils import cached_file

    # The weights were found: a card that is not, or not now, is no fault.
    with suppress(OSError, ValueError):
        found: str | None = cached_file(
            model,
            "README.md",
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            _raise_exceptions_for_gated_repo=False,
        )
        return found
    return None


def _metadata(path: str | None) -> dict[str, Any]:
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        if path is None or os.path.getsize(path) > _LARGEST:
            return {}
        found = metadata_load(path)
    # What is nested too deeply ends in a RecursionError.
    except (OSError, ValueError, YAMLError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _id_of_snapshot(folder: str) -> str | None:
    found = _SNAPSHOT.search(os.path.abspath(folder).replace(os.sep, "/"))
    return None if found is None else "/".join(part for part in found.groups() if part)


def _only(value: Any) -> Any:
    """The one entry of a list: of several models none is the base."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _is_hub_id(value: Any) -> bool:
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(value)
    except (ValueError, TypeError):
        return False
    return isinstance(value, str)


__all__ = ["SourceFacts", "source_facts"]
