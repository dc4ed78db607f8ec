"""What a calibration measures of a video, kept in a file of its own, so that it need not be measured again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..checks import is_number, is_whole
from ..configuration import as_temporal_reuse_config
from ..storage.files import write_json
from .held_folder import unwritten
from .identity import digest_of, identity_of_model
from .protocol import Protocol


MEASUREMENTS = "measurements"
"""Folder of the files."""

_FORMAT = "hf-ttr measurement 1"
_LARGEST = 1 << 26
"""Bytes of a file that is read back."""


@dataclass(frozen=True)
class Measured:
    """
    One clip at one threshold.

    Attributes:
        frames: number of them; 1 of a model that gives labels to clips alone.
        agreement: share of its frames with the dense model's label.
        kl: mean divergence of its frames from the dense scores.
        multiply_adds, dense_multiply_adds: of it.
    """

    frames: int
    agreement: float
    kl: float
    multiply_adds: int
    dense_multiply_adds: int


ByThreshold = dict[float, list[Measured]]
"""The clips of a video at each threshold."""


class MeasurementFiles:
    """
    Files of what was measured of videos by a model, with its settings, in a protocol.

    The name of a file tells all of these, and the bytes of the video, so that nothing of another model, of other
    settings or of another video is ever read.

    Args:
        folder: in which they lie; it is made when the first is written.
        model, processor, protocol: as in `evaluate`. The threshold of the model does not count, as others are tried.
        thresholds: that are tried.
    """

    def __init__(
        self, folder: str, model: Any, processor: Any, protocol: Protocol, thresholds: Sequence[float]
    ) -> None:
        from .. import __version__

        settings = as_temporal_reuse_config(model.config.temporal_reuse).settings_to_dict()
        identity = identity_of_model(model, processor)
        identity["config"]["temporal_reuse"] = {**settings, "threshold": None, "compute_budget": None}
        self._folder, self._thresholds, self._clips = folder, list(thresholds), protocol.num_clips
        self._of = {
            "hf_ttr": __version__,
            "identity": identity,
            "protocol": asdict(protocol),
            "thresholds": self._thresholds,
        }

    def path(self, video: str | os.PathLike[str]) -> str | None:
        """Where what was measured of a video lies; `None` where its bytes cannot be read."""
        digest = digest_of(video)
        if digest is None:
            return None
        key = json.dumps({**self._of, "video": digest}, sort_keys=True)
        return os.path.join(self._folder, f"{hashlib.sha256(key.encode()).hexdigest()}.json")

    def read(self, path: str | None) -> ByThreshold | None:
        """What is in a file; `None` where there is none, or something else: then it is measured."""
        if path is None:
            return None
        try:
            if os.path.getsize(path) > _LARGEST:
                return None
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            if content["format"] != _FORMAT:
                return None
            found = {float(key): [_measured(one) for one in clips] for key, clips in content["clips"].items()}
        # What is nested too deeply ends in a RecursionError.
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        is_whole_file = list(found) == self._thresholds and all(len(own) == self._clips for own in found.values())
        return found if is_whole_file else None

    def write(self, path: str | None, video: str | os.PathLike[str], measured: ByThreshold) -> None:
        """
        Keeps what was measured of a video.

        Raises:
            DataError: if it cannot be written.
        """
        if path is None:
            return
        clips = {repr(threshold): [asdict(one) for one in own] for threshold, own in measured.items()}
        try:
            os.makedirs(self._folder, exist_ok=True)
            write_json(path, {"format": _FORMAT, "video": os.path.basename(os.fspath(video)), "clips": clips})
        # Scores that are NaN are no JSON: they are measured again.
        except ValueError:
            return
        except OSError as error:
            raise unwritten(path, error) from error


def _measured(values: Mapping[str, Any]) -> Measured:
    numbers = [values[field.name] for field in fields(Measured)]
    frames, agreement, kl, *costs = numbers
    counts_are_right = all(is_whole(count) and count >= 1 for count in (frames, *costs))
    if not counts_are_right or not (is_number(agreement) and 0 <= agreement <= 1) or not (is_number(kl) and kl >= 0):
        raise ValueError("no measurement")
    return Measured(*numbers)


__all__ = ["MEASUREMENTS", "ByThreshold", "Measured", "MeasurementFiles"]
