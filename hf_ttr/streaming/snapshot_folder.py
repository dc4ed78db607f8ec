"""The folder in which a run keeps what it takes to go on, and nothing of anybody else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from ..caching.snapshot import SnapshotError, is_snapshot
from ..checks import first_line
from ..display import shown
from ..storage.files import write_json


FORMAT = "hf_ttr streams 1"
"""Written into the file that describes a run; another number is another layout."""

LARGEST_RUN = 2**24
"""Bytes of that file."""

LONGEST_NAME = 160
"""Characters of a file name, after which the rest of a stream's name is a digest."""


class SnapshotFolder:
    """
    Snapshots of streams by their names, and `run.json`, which says of what they are.

    Args:
        folder (`str` or `os.PathLike`): where they are; it may hold other things, which are left alone.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = os.fspath(folder)
        self._run = os.path.join(self.folder, "run.json")
        self._shown = shown(self.folder, None)

    def path(self, name: str) -> str:
        """Where the snapshot of a stream is, or will be."""
        file = quote(name.encode(errors="surrogatepass"), "")
        if len(file) > LONGEST_NAME:
            digest = hashlib.sha256(file.encode()).hexdigest()[:16]
            file = f"{file[:LONGEST_NAME].rpartition('%')[0] or file[:LONGEST_NAME]}-{digest}"
        return os.path.join(self.folder, f"{file}.safetensors")

    def same(self, origins: Mapping[str, str]) -> set[str]:
        """
        Of these streams, those that the run before had as well, and from the same sources.

        Raises:
            SnapshotError: if what describes the run is damaged; one sentence.
        """
        before = self._read()
        return set() if before is None else {name for name in origins if before["sources"].get(name) == origins[name]}

    @property
    def names(self) -> set[str]:
        """
        The streams of the run before.

        Raises:
            SnapshotError: if what describes the run is damaged; one sentence.
        """
        before = self._read()
        return set() if before is None else set(before["sources"])

    def forget(self, names: Iterable[str]) -> None:
        """
        Deletes the snapshots of streams, and what is known of their sources.

        Raises:
            SnapshotError: if that is not possible; one sentence.
        """
        names = list(names)
        before = self._read()
        try:
            for name in names:
                if os.path.isfile(path := self.path(name)) and is_snapshot(path):
                    os.unlink(path)
            if before is not None and set(names) & set(before["sources"]):
                left = {name: origin for name, origin in before["sources"].items() if name not in names}
                write_json(self._run, {**before, "sources": left})
        except OSError as error:
            raise SnapshotError(
                f"the folder '{self._shown}' for snapshots cannot be written ({error.strerror or first_line(error)}); "
                "make room, or pass another."
            ) from error

    def agree(self, identity: Mapping[str, Any], origins: Mapping[str, str]) -> None:
        """
        Makes sure that a run that goes on has the same model, options and sources.

        Raises:
            SnapshotError: if not, or if what describes the run is damaged; one sentence.
        """
        # What a run is compared with is in `streaming.engine`, which snapshots by themselves need as well.
        from .engine import difference

        before = self._read()
        if before is None:
            return
        if different := difference(before["identity"], dict(identity)):
            raise SnapshotError(
                f"the run in '{self._shown}' had another model or other options ({different}); pass the same, or "
                "start anew."
            )
        for name, origin in origins.items():
            if before["sources"].get(name, origin) != origin:
                raise SnapshotError(
                    f"the run in '{self._shown}' had the stream '{shown(name)}' from "
                    f"'{shown(before['sources'][name])}', and now it is from '{shown(origin)}'; pass the same, or "
                    "give it another name."
                )

    def _read(self) -> dict[str, Any] | None:
        """What was written of the run before; `None` if there was none."""
        if not os.path.lexists(self._run):
            return None
        try:
            with open(self._run, "rb") as file:
                content = file.read(LARGEST_RUN + 1)
            if not content:
                # The system broke down before it was on the disk.
                return None
            if len(content) > LARGEST_RUN:
                raise ValueError("it is too long")
            before = json.loads(content)
            if not isinstance(before, dict) or before.get("format") != FORMAT:
                raise ValueError("it is of something else, or of another version of hf_ttr")
            sources = before.get("sources")
            if not isinstance(sources, dict) or not all(isinstance(value, str) for value in sources.values()):
                raise ValueError("its sources are none")
            if not isinstance(before.get("identity"), dict):
                raise ValueError("it says nothing of the model")
        except (OSError, ValueError, RecursionError) as error:
            raise SnapshotError(
                f"'{shown(self._run, None)}' does not describe a run ({shown(first_line(error))}); delete it to start "
                "anew, or pass another folder."
            ) from error
        return before

    def begin(
        self, names: Iterable[str], identity: Mapping[str, Any], origins: Mapping[str, str], resume: bool
    ) -> None:
        """
        Makes the folder, describes the run, and deletes the snapshots of a run that does not go on.

        Raises:
            SnapshotError: if that is not possible, or something of others is in its place; one sentence.
        """
        before = self._read()
        old = [] if resume else [path for name in names if os.path.lexists(path := self.path(name))]
        for path in old:
            if not (os.path.isfile(path) and is_snapshot(path)):
                raise SnapshotError(
                    f"'{shown(path, None)}' is no snapshot, but in the place of one; move it, or pass another folder."
                )
        sources = {**(before["sources"] if before is not None and resume else {}), **origins}
        try:
            os.makedirs(self.folder, exist_ok=True)
            for path in old:
                # Of another run, of whose results none are there.
                os.unlink(path)
            write_json(self._run, {"format": FORMAT, "identity": identity, "sources": sources})
        except OSError as error:
            raise SnapshotError(
                f"the folder '{self._shown}' for snapshots cannot be written ({error.strerror or first_line(error)}); "
                "make room, or pass another."
            ) from error
