"""Read a YAML file of settings: all that is wrong with it at once, each in a sentence, with line and column."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic import ValidationError

from .document import NotYaml, read_document
from .folders import from_folder
from .problems import Problem, SettingsError
from .sentences import problems_of
from .settings import ServiceSettings


MOST_BYTES = 2**20
"""Of a file of settings."""


def read_settings(path: str | os.PathLike[str], environment: Mapping[str, str] | None = None) -> ServiceSettings:
    """
    Reads the settings of a service of cameras.

    Relative paths are meant from the folder of the file: `data` and the files of `tls` always, the model and sources
    where there is such a folder or file; `example:` and the name of an example stand for what comes with the package.

    Args:
        path (`str` or `os.PathLike`): of a YAML file of at most 1 MiB in UTF-8. Its texts may name variables of the
            environment: `${NAME}`, or `${NAME:-default}`; `$$` is a dollar.
        environment (`Mapping[str, str]`, *optional*): variables; those of the process by default.

    Returns:
        `ServiceSettings`: in which paths are absolute.

    Raises:
        SettingsError: if something is wrong, with all problems of the file.

    Example:

    ```python
    >>> from hf_ttr.cameras.reading import read_settings

    >>> settings = read_settings("examples/cameras.yaml")
    >>> list(settings.cameras)
    ['shuttle']
    ```
    """
    try:
        document = read_document(_text(path), os.environ if environment is None else environment)
    except NotYaml as error:
        raise SettingsError(path, [error.problem]) from None
    if document.values is None:
        raise SettingsError(path, [_of_file("is empty; write a model and cameras into it.")])
    from_folder(document, os.path.dirname(os.path.abspath(os.fspath(path))))
    problems = document.problems
    try:
        values = document.values
        labels = values.get("labels") if isinstance(values, Mapping) else None
        settings = ServiceSettings.model_validate(values, context={"labels": labels})
    except ValidationError as error:
        found = problems_of(error, document, ServiceSettings.model_json_schema())
        raise SettingsError(path, [*problems, *found]) from None
    if problems:
        raise SettingsError(path, problems)
    return settings


def _of_file(predicate: str) -> Problem:
    return Problem(1, 1, "", f"the file {predicate}")


def _text(path: str | os.PathLike[str]) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise SettingsError(path, [_of_file("does not exist; check the path.")]) from None
    except IsADirectoryError:
        raise SettingsError(path, [_of_file("is a folder; pass the YAML file in it.")]) from None
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise SettingsError(path, [_of_file(f"cannot be read ({why}); look at its permissions.")]) from None
    if len(content) > MOST_BYTES:
        raise SettingsError(path, [_of_file("has more than 1 MiB, which settings never need; check the path.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        sentence = "the file is not UTF-8 here; save it with that encoding."
        raise SettingsError(path, [Problem(line, column, "", sentence)]) from None
