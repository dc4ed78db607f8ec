"""The one result file. Every measured cell is saved at once, so that a crash loses at most the one being measured."""

from __future__ import annotations

import json
import math
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


QUICK = "quick"
"""The setting of cells that a quick run measured."""


class ResultError(Exception):
    """What stops a run or a report; the message is one sentence."""


class Results:
    """
    Suites of parts of cells: `{"suites": {suite: {part: {command, machine, ..., cells: {key: {...}}}}}}`.

    Args:
        path: the JSON file; it need not be there.

    Raises:
        ResultError: if the file is not a result file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.suites: dict[str, dict[str, dict[str, Any]]] = {}
        if path.exists():
            try:
                self.suites = json.loads(path.read_text())["suites"]
            except (ValueError, KeyError, TypeError) as error:
                raise ResultError(
                    f"{path} is not a result file ({type(error).__name__}); move it away, or pass another to --out."
                ) from error

    def has(self, suite: str, part: str, key: str, settings: dict[str, Any]) -> bool:
        """Whether a cell was measured with these settings."""
        cell = self.suites.get(suite, {}).get(part, {}).get("cells", {}).get(key)
        return cell is not None and cell["settings"] == _plain(settings)

    def open_part(self, suite: str, part: str, header: dict[str, Any], fresh: bool = False) -> None:
        """
        Gets a part ready for more cells.

        Args:
            suite, part: which.
            header: command, machine, versions, and what the tables say about the part.
            fresh: forget the cells that are there.

        Raises:
            ResultError: if the cells that are there are from another machine, as timings of two do not compare.
        """
        found = self.suites.setdefault(suite, {}).get(part)
        header = _plain(header)
        if found is None or fresh:
            self.suites[suite][part] = {**header, "started": _now(), "finished": None, "complete": False, "cells": {}}
            return
        for name in ("machine", "versions"):
            if found["cells"] and found[name] != header[name]:
                raise ResultError(
                    f"part {part!r} of {self.path.name} was measured on {_listed(found[name])}, but this is "
                    f"{_listed(header[name])}; pass --fresh to measure all of it anew, or another file to --out."
                )
        found.update(header)
        found["complete"] = False

    def put(self, suite: str, part: str, key: str, settings: dict[str, Any], values: dict[str, Any]) -> None:
        """Adds a measured cell and saves."""
        found = self.suites[suite][part]
        found["cells"][key] = _plain({"settings": settings, **values})
        found["finished"] = _now()
        self.save()

    def complete(self, suite: str, part: str) -> None:
        """Notes that no cell of a part is missing, and saves."""
        self.suites[suite][part]["complete"] = True
        self.save()

    def take(self, other: Results) -> list[str]:
        """
        Adds the parts of another file. Cells of a part that both measured on the same machine are put together, those
        of the other file in place of such of the same key; else its part takes the place of ours.

        Returns:
            The names of the parts.
        """
        taken = []
        for suite, parts in other.suites.items():
            for name, part in parts.items():
                own = self.suites.setdefault(suite, {}).get(name)
                if own is not None and all(own[key] == part[key] for key in ("machine", "versions")):
                    part = {
                        **part,
                        "complete": own["complete"] and part["complete"],
                        "started": min(filter(None, (own["started"], part["started"])), default=None),
                        "finished": max(filter(None, (own["finished"], part["finished"])), default=None),
                        "cells": {**own["cells"], **part["cells"]},
                    }
                self.suites[suite][name] = part
                taken.append(name)
        self.save()
        return taken

    def part(self, name: str) -> dict[str, Any] | None:
        """
        A part for the report: its header, and as `rows` the cells, with their keys in parts as `key`; `None` where
        nothing was measured.
        """
        for suite, parts in self.suites.items():
            if parts.get(name, {}).get("cells"):
                found = {key: value for key, value in parts[name].items() if key != "cells"}
                rows = [{"key": key.split(" | "), **cell} for key, cell in parts[name]["cells"].items()]
                return {"suite": suite, "name": name, **found, "rows": rows}
        return None

    def quick_parts(self) -> list[str]:
        """The parts with cells of a quick run, which shows that something works and measures nothing."""

        def quick(part: dict[str, Any]) -> bool:
            marked = any(cell["settings"].get(QUICK) for cell in part["cells"].values())
            return marked or bool(part["cells"] and "--quick" in part["command"].split())

        return [name for parts in self.suites.values() for name, part in parts.items() if quick(part)]

    def refuse_quick(self) -> None:
        """
        Raises:
            ResultError: if there are cells of a quick run.
        """
        if found := self.quick_parts():
            raise ResultError(
                f"{self.path} has cells of a quick run ({', '.join(found)}), which shows that the benchmarks work and "
                "measures nothing; run them without --quick, or pass --quick to see the tables that they would make."
            )

    def save(self) -> None:
        """Writes the file, one cell a line; what was there stays until the new one is complete."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("w") as file:
                file.write(_text(self.suites))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)


def part_of(results: Results, name: str) -> dict[str, Any]:
    """
    A part of the results.

    Raises:
        ResultError: if it has not been measured.
    """
    part = results.part(name)
    if part is None:
        raise ResultError(
            f"{results.path} has no results of part '{name}', which the documents show; measure it with "
            f"python -m benchmarks run --part {name}."
        )
    return part


def _text(suites: dict[str, dict[str, dict[str, Any]]]) -> str:
    """JSON with a line for each entry of a header and each cell: short, and readable in a diff."""

    def line(key: str, value: Any) -> str:
        return f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}"

    blocks = []
    for suite, parts in suites.items():
        texts = []
        for name, part in parts.items():
            entries = [f"   {line(key, value)}" for key, value in part.items() if key != "cells"]
            cells = ",\n".join(f"    {line(key, value)}" for key, value in part["cells"].items())
            entries.append(f'   "cells": {{\n{cells}\n   }}')
            texts.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(entries) + "\n  }")
        blocks.append(f" {json.dumps(suite)}: {{\n" + ",\n".join(texts) + "\n }")
    return '{"suites": {\n' + ",\n".join(blocks) + "\n}}\n"


def _plain(value: Any) -> Any:
    """What JSON gives back: no tuples, six digits, `None` for what is not finite."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
