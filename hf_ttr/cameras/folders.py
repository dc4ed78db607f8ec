"""Paths in a file of settings, which are meant from the folder that it lies in."""

from __future__ import annotations

import os

from ..examples import EXAMPLES, with_examples
from ..streaming.names import said_kind
from .document import Document
from .problems import KeyPath
from .secrets import FromEnvironment, said
from .settings import DATA_FOLDER


def from_folder(document: Document, folder: str) -> None:
    """
    Makes the paths of a document absolute, and gives it `data` where it has none.

    `data` and the files of `tls` lie in the folder; models and sources do if they are there, as they may be something
    else. Examples are found by their names.

    Args:
        document (`Document`): changed in place; a model that can only be a folder and is not there is a problem.
        folder (`str`): of the file.
    """
    values = document.values
    if not isinstance(values, dict):
        return
    values.setdefault("data", DATA_FOLDER)
    mqtt, cameras = values.get("mqtt"), values.get("cameras")
    tls = mqtt.get("tls") if isinstance(mqtt, dict) else None
    for holder, name in [(values, "data"), *((tls, f"{one}_file") for one in ("ca", "cert", "key"))]:
        if isinstance(holder, dict) and isinstance(text := holder.get(name), str) and text:
            holder[name] = _as_written(os.path.join(folder, os.path.expanduser(text)), text)
    if isinstance(model := values.get("model"), str) and ("model",) not in document.unknown:
        values["model"] = _as_written(_there(model, folder, document, ("model",)), model)
        can_be_name = not model.startswith((".", "~", "/")) and model.count("/") < 2
        if not can_be_name and not os.path.exists(values["model"]):
            why = f"is {said(model)}, but there is no such folder; check the path."
            document.add(("model",), document.places["model",], why)
    for name, camera in cameras.items() if isinstance(cameras, dict) else ():
        path = ("cameras", name, "source")
        if isinstance(camera, dict) and isinstance(source := camera.get("source"), str):
            inner, _ = said_kind(source)
            found = source[: len(source) - len(inner)] + _there(inner, folder, document, path)
            camera["source"] = _as_written(found, source)


def _there(text: str, folder: str, document: Document, path: KeyPath) -> str:
    """The path of an example, or of what is in the folder; else the same."""
    try:
        found = with_examples(text)
    except ValueError:
        why = f"is no example that comes with the package; there are {', '.join(EXAMPLES)}."
        document.add(path, document.places[path], why)
        return text
    except FileNotFoundError:
        document.add(path, document.places[path], "is an example that is missing; install hf-ttr anew.")
        return text
    inside = os.path.join(folder, os.path.expanduser(found))
    return inside if found and "://" not in found and os.path.lexists(inside) else found


def _as_written(text: str, written: str) -> str:
    """A text in place of another one, of which it hides what that did."""
    return FromEnvironment(text, written.template) if isinstance(written, FromEnvironment) else text
