"""What pydantic finds wrong with settings, as sentences with a place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from .document import Document
from .nearest import nearest
from .problems import KeyPath, Problem, is_of_webhook, key_text, without_value
from .secrets import FromEnvironment, said


def problems_of(error: ValidationError, document: Document, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """
    The problems of a document.

    Args:
        error (`pydantic.ValidationError`): what came of its values.
        document (`Document`): with the places of keys and values.
        schema (`Mapping[str, Any]`): JSON schema of the settings, which says what is allowed.

    Yields:
        `Problem`: each that is not there already for another reason.
    """
    for found in error.errors(include_url=False, include_input=False):
        # Of a key that cannot be one, pydantic says so behind the key.
        path = tuple(part for part in found["loc"] if part != "[key]")
        context = found.get("ctx") or {}
        for part in context.get("at", ()):
            path = path[:-1] if part == ".." else (*path, part)
        path = _as_written(path, document)
        if any(path[: len(one)] == one for one in document.unknown):
            continue
        kind = found["type"]
        if kind == "too_short" and context["min_length"] <= len(_value(document.values, path) or ()):
            continue  # so it is for the entries that are wrong
        on_key = kind == "extra_forbidden" or "[key]" in found["loc"]
        hides, key = is_of_webhook(path), path
        if kind == "rule":
            subject, predicate = path, context["predicate"]
        elif kind == "missing":
            subject = path[:-1]
            predicate = f"has no {path[-1]}; add '{path[-1]}: ...' to it."
        elif kind == "extra_forbidden":
            subject = path[:-1]
            name = str(path[-1])
            known = _at(schema, subject).get("properties", ())
            if hides:
                key, what = subject, "a setting that is none"
            else:
                what = f"no setting {said(without_value(name))}"
            predicate = f"has {what}; {nearest(name, known)}"
        else:
            value, part = _value(document.values, path), _at(schema, path)
            subject, predicate = path, _not_allowed(kind, context, value, part, hides or _is_secret(part))
        yield Problem(*_place(path, document, on_key), key_text(key), f"{key_text(subject) or 'the file'} {predicate}")


def _as_written(path: KeyPath, document: Document) -> KeyPath:
    """The same way where the file has a short form: a zone that is nothing but its crop."""
    way: KeyPath = ()
    for part in path:
        if isinstance(part, str) and isinstance(_value(document.values, way), list):
            continue
        way = (*way, part)
    return way


def _place(path: KeyPath, document: Document, on_key: bool) -> tuple[int, int]:
    """Where a value stands, or what should have it."""
    if path in document.places:
        return document.keys[path] if on_key and path in document.keys else document.places[path]
    while path and path not in document.places:
        path = path[:-1]
    return document.keys.get(path) or document.places.get(path) or (1, 1)


def _value(values: Any, path: KeyPath) -> Any:
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _not_allowed(kind: str, context: Mapping[str, Any], value: Any, schema: Mapping[str, Any], is_secret: bool) -> str:
    allowed = _allowed(schema)
    if kind in ("too_short", "too_long"):
        return f"has {context['actual_length']} entries, but must be {allowed}."
    help_ = ""
    if kind == "string_type" and isinstance(value, (bool, int, float)):
        help_ = "; put it in quotes"
    elif value is None:
        help_ = "; fill it in, or leave it out"
    if is_secret:
        return f"must be {allowed}{help_}."
    if schema.get("type") == "object":
        value = _without_values(value)
    return f"is {said(value)}, but must be {allowed}{help_}."


def _without_values(value: Any) -> Any:
    """What stands in place of a mapping, of which texts may be keys with their values."""
    if isinstance(value, FromEnvironment):
        return value
    if isinstance(value, list):
        return [_without_values(one) for one in value]
    return without_value(value) if isinstance(value, str) else value


def _at(schema: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    """The part of a JSON schema that is about a value."""
    part = _resolved(schema, schema)
    for name in path:
        if isinstance(name, int):
            part = part.get("items", {})
        elif name in part.get("properties", {}):
            part = part["properties"][name]
        else:
            many = list(part.get("patternProperties", {}).values())
            part = many[0] if many else part.get("additionalProperties") or {}
        part = _resolved(part if isinstance(part, Mapping) else {}, schema)
    return part


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part without references, and without the forms that are only short for another."""
    options = [one for one in part.get("anyOf", ()) if one.get("type") != "null"]
    if options:
        part = next((one for one in options if "$ref" in one), options[0])
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    return part


def _is_secret(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("writeOnly"))


def _allowed(schema: Mapping[str, Any]) -> str:
    """What is allowed, in words."""
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return f"a {'whole ' if kind == 'integer' else ''}number{_range(schema)}"
    if kind == "array":
        least = schema.get("minItems")
        return f"a list{f' of at least {least}' if least else ''}"
    if kind == "object" and "properties" in schema:
        return f"a mapping with some of {', '.join(schema['properties'])}"
    if kind == "object":
        return f"a mapping from names to values{' with at least one entry' if schema.get('minProperties') else ''}"
    if kind == "string":
        most = schema.get("maxLength")
        not_empty = " that is not empty" if schema.get("minLength") else ""
        return f"text{not_empty}{f' of up to {most} characters' if most else ''}"
    return {"boolean": "true or false"}.get(str(kind), "something else")


def _range(schema: Mapping[str, Any]) -> str:
    least, above, most = (schema.get(name) for name in ("minimum", "exclusiveMinimum", "maximum"))
    if least is not None and most is not None:
        return f" from {least} to {most}"
    bounds = []
    if least is not None:
        bounds.append(f"of at least {least}")
    if above is not None:
        bounds.append(f"above {above}")
    if most is not None:
        bounds.append(f"at most {most}" if bounds else f"of at most {most}")
    return f" {' and '.join(bounds)}" if bounds else ""
