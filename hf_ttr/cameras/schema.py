"""The JSON schema of the settings: with it, editors complete them and say what is wrong while one types."""

from __future__ import annotations

import inspect
import os
import re
from typing import Any

from ..storage.files import write_json
from .settings import SERVICE_MODES, ServiceSettings


DIALECT = "http://json-schema.org/draft-07/schema#"
"""The one that all editors read."""

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
_NOTES = ("default", "description")


def json_schema() -> dict[str, Any]:
    """
    The JSON schema of a file of settings.

    It says of each setting what it is for, its type, bounds and default. What takes two settings to see, such as
    labels of a camera that the service does not have, is for `hf-ttr watch --check`.

    Returns:
        `dict`: of draft 7, as JSON can hold it.

    Example:

    ```python
    >>> from hf_ttr.cameras.schema import json_schema

    >>> json_schema()["properties"]["data"]["default"]
    'hf-ttr-data'
    ```
    """
    made = ServiceSettings.model_json_schema(ref_template="#/definitions/{model}")
    definitions = made.pop("$defs")
    made["properties"]["temporal_reuse"] |= _reuse()
    # Short forms, which the settings themselves do not keep.
    for model, name in (("MqttSettings", "tls"), ("CameraSettings", "picture")):
        definitions[model]["properties"][name]["anyOf"].append({"type": "boolean"})
    crop = definitions["ZoneSettings"]["properties"]["crop"]
    definitions["ZoneSettings"] = {
        "anyOf": [definitions["ZoneSettings"], {name: one for name, one in crop.items() if name not in _NOTES}]
    }
    made = _for_files({**made, "definitions": definitions})
    return {"$schema": DIALECT, "title": "hf-ttr watch", **made}


def write_schema(path: str | os.PathLike[str]) -> None:
    """
    Writes the JSON schema of the settings into a file, which appears once it is complete.

    Raises:
        OSError: if it cannot be written.
    """
    write_json(path, json_schema())


def _reuse() -> dict[str, Any]:
    """Names, texts and defaults of `TemporalReuseConfig`, out of its signature and docstring."""
    from ..configuration import REPRESENTATIVES, TemporalReuseConfig

    text = inspect.getdoc(TemporalReuseConfig) or ""
    texts = dict(re.findall(r"^    (\w+) \([^\n]*\):\n((?: {8}[^\n]*\n)+)", text, re.MULTILINE))
    parameters = inspect.signature(TemporalReuseConfig.__init__).parameters
    properties: dict[str, Any] = {
        name: {"description": " ".join(texts[name].split())} for name in parameters if name in texts
    }
    properties["mode"] |= {
        "description": "causal holds the last computed token of a position, off computes all of them.",
        "enum": list(SERVICE_MODES),
        "default": "causal",
    }
    properties["representative"] |= {"enum": list(REPRESENTATIVES)}
    return {"properties": properties, "additionalProperties": False}


def _for_files(part: Any, is_names: bool = False) -> Any:
    """
    A schema as files are written: a variable of the environment may stand for what is no text as well.

    Args:
        part: of the schema.
        is_names: whether its keys are names of settings and not words of JSON schema.
    """
    if isinstance(part, list):
        return [_for_files(one) for one in part]
    if not isinstance(part, dict):
        return part
    made = {
        name: _for_files(one, name in ("properties", "definitions") and not is_names)
        for name, one in part.items()
        if is_names or name not in ("title", "format", "writeOnly")
    }
    if is_names:
        return made
    if "description" in made:
        made["description"] = made["description"].partition("\n\n")[0]
    if "patternProperties" in made:
        made["additionalProperties"] = False
    if "anyOf" in made:
        made["anyOf"] = [
            inner for one in made["anyOf"] for inner in (one["anyOf"] if one.keys() == {"anyOf"} else [one])
        ]
    elif made.get("type") in ("integer", "number", "boolean") or "enum" in made:
        notes = {name: made.pop(name) for name in _NOTES if name in made}
        made = {**notes, "anyOf": [made, _VARIABLE]}
    return made
