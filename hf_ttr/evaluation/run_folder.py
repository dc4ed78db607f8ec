"""The folder of a run: held by one process at a time, and gone on with by the same run alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

from ..checks import is_whole
from ..display import shown
from ..storage.files import replacing
from .data import DataError, Video
from .held_folder import FolderKind, HeldFolder, read_json, short, unwritten
from .identity import ListedVideo, clean_label, clean_name, digest_of, file_of
from .rows import ClipRow, RowFiles


KIND = FolderKind(
    format="hf-ttr evaluation 1",
    about="run.json",
    lock="run.lock",
    holds="a run",
    holds_none="no run",
    user="another evaluation",
    again="run the same command again",
)
VIDEOS = "videos.json"


class RunFolder(HeldFolder):
    """
    Takes the folder of a run for this process, and looks whether what is there is of the same run.

    Args:
        folder: for the results; it is made.
        about: what the run is of; another one is refused.
        videos: of the data set; `None` where they come one by one.
        classes: how many logits a row has.

    Raises:
        DataError: if another process is at work there, the folder holds something else, or another run, or one of
            other videos; one sentence. Nothing is touched then.
    """

    def __init__(self, folder: str, about: dict[str, Any], videos: Sequence[Video] | None, classes: int) -> None:
        super().__init__(folder, KIND)
        self._name = shown(about["dataset"]["name"])
        try:
            self._agree(about, videos, classes)
        except BaseException:
            self.close()
            raise

    def _agree(self, about: dict[str, Any], videos: Sequence[Video] | None, classes: int) -> None:
        listed = None if videos is None else [ListedVideo.of(video) for video in videos]
        if self.is_begun():
            # A revision that could not be asked for says nothing.
            self.check_same(about, may_be_unknown=("identity.revision",))
            rows = RowFiles(self.folder, 0).known.values()
            if listed is not None and (rows or os.path.lexists(os.path.join(self.folder, VIDEOS))):
                self._compare(self._listed_before(), listed, {row.number for row in rows if row.error is not None})
            self.check_rows(rows, videos, classes, about["compare_dense"])
        self.describe(about)
        if listed is not None:
            try:
                _write_videos(os.path.join(self.folder, VIDEOS), listed)
            except OSError as error:
                raise unwritten(self.folder, error) from error

    def _listed_before(self) -> list[ListedVideo]:
        path = os.path.join(self.folder, VIDEOS)
        found = read_json(path)
        try:
            videos = [ListedVideo(*entry) for entry in found]
            if not all(
                isinstance(video.name, str)
                and isinstance(video.label, (str, type(None)))
                and (video.size is None or is_whole(video.size))
                for video in videos
            ):
                raise TypeError
        except TypeError as error:
            raise DataError(
                f"'{shown(path)}' is no list of the videos of a run; pass another folder, or begin anew in this one."
            ) from error
        return videos

    def _compare(self, before: list[ListedVideo], now: list[ListedVideo], failed: set[int]) -> None:
        """Makes sure that the videos are those that the run began with; those that failed may have been mended."""
        names, old_names = ({video.name for video in videos} for videos in (now, before))
        what = None
        if added := sorted(names - old_names):
            what = f"'{shown(added[0])}' was added to it" + _more(len(added) - 1)
        elif removed := sorted(old_names - names):
            what = f"'{shown(removed[0])}' is no longer in it" + _more(len(removed) - 1)
        elif [video.name for video in before] != [video.name for video in now]:
            what = "its videos are in another order, or some come more often or less"
        else:
            for number, (old, new) in enumerate(zip(before, now)):
                if old.label != new.label:
                    what = f"'{shown(new.name)}' has the label {short(new.label)}, and had {short(old.label)}"
                elif number not in failed and None not in (old.size, new.size) and old.size != new.size:
                    what = f"'{shown(new.name)}' has {new.size} bytes, and had {old.size}"
                if what:
                    break
        if what:
            raise self._changed(what)

    def check_rows(
        self, rows: Iterable[ClipRow], videos: Sequence[Video] | None, classes: int, with_dense: bool
    ) -> None:
        """
        Makes sure that rows are of the videos of a data set, as they are now, and of such a model.

        Raises:
            DataError: if one is not.
        """
        for row in rows:
            if row.logits is not None and (len(row.logits) != classes or (row.dense_logits is None) == with_dense):
                raise self._foreign(row, "is of another model")
            if videos is None:
                continue
            if row.number >= len(videos):
                raise self._foreign(row, "is of no video of this data set")
            check_row(row, videos[row.number], self.folder, self._name)

    def _foreign(self, row: ClipRow, what: str) -> DataError:
        return DataError(
            f"the row of '{shown(row.video)}' in '{shown(os.path.join(self.folder, 'rows'))}' {what}; pass another "
            "folder."
        )

    def _changed(self, what: str) -> DataError:
        return changed(self._name, what, self.folder)


def check_row(row: ClipRow, video: Video, folder: str, dataset: str) -> None:
    """
    Makes sure that a row is of a video as it is now.

    Raises:
        DataError: if it is of another, or the video was replaced; one sentence.
    """
    name = clean_name(video.name)
    if row.video != name:
        raise changed(dataset, f"video {row.number} is '{shown(name)}', and was '{shown(row.video)}'", folder)
    if row.label != clean_label(video.label):
        raise changed(dataset, f"'{shown(name)}' has another label", folder)
    size, modified = file_of(video.source)
    if row.error is not None or row.size is None or (size, modified) == (row.size, row.modified):
        return
    # The same content may have another time, as on another machine; what cannot be read now cannot be compared.
    if (
        size is not None
        and size != row.size
        or (row.digest is not None and digest_of(video.source) not in (row.digest, None))
    ):
        raise changed(dataset, f"'{shown(name)}' is another file than when it was evaluated", folder)


def changed(dataset: str, what: str, folder: str) -> DataError:
    """What to say of a data set that is another one than that of the run."""
    return DataError(
        f"the data set '{shown(dataset)}' is not as it was when the run in '{shown(folder)}' began: {what}; pass "
        "another folder to evaluate it as it is now."
    )


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _write_videos(path: str, videos: list[ListedVideo]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        # A line for each, for people who look for what changed.
        lines = (json.dumps(astuple(video)) for video in videos)
        file.write("[\n" + ",\n".join(lines) + "\n]\n")


__all__ = ["KIND", "RunFolder", "changed", "check_row"]
