"""Plain checkpoints become checkpoints with reuse, and these go to the Hub."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .checkpoints import (
    PARENT_TYPES,
    REUSE_TYPES,
    CheckpointError,
    checkpoint_type,
    load_classifier,
    load_video_processor,
    naming_model,
)
from .checks import first_line
from .configuration import TemporalReuseConfig
from .display import shown
from .files import replacing_folder


# What is in the folder of a checkpoint, and goes where another one takes its place.
_OF_A_CHECKPOINT = re.compile(
    r"[\w.-]+\.(?:safetensors|index\.json|py|bin)|\w*config\.json|training\.json|README\.md|LICENSE(?:\.\w+)?"
    r"|\.gitattributes|\.eval_results|__pycache__"
)
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """
    What `convert` wrote.

    Attributes:
        folder (`str`): where the checkpoint is.
        source (`str`): the folder or Hub id that it was made of.
        architecture (`str`): name of the class that it is for.
        temporal_reuse (`TemporalReuseConfig`): its settings of reuse.
        weights_bytes (`int`): size of its weights, in bytes.
    """

    folder: str
    source: str
    architecture: str
    temporal_reuse: TemporalReuseConfig
    weights_bytes: int


def convert(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    temporal_reuse: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> ConvertedCheckpoint:
    """
    Makes a checkpoint with reuse of a ViT image classifier or a VideoMAE video classifier.

    The files of weights are copied as they are. The config says how to reuse, the processor takes images and videos,
    and a module of a few lines lets `trust_remote_code=True` find this package. The folder appears once the model in
    it was loaded.

    Args:
        source (`str` or `os.PathLike`): folder or Hub id of a plain checkpoint, or of one with reuse, whose settings
            are then changed.
        folder (`str` or `os.PathLike`): where to write.
        temporal_reuse (`dict`, *optional*): settings of `TemporalReuseConfig` that differ from the defaults, or from
            those of the source.
        overwrite (`bool`): whether a checkpoint that is there is replaced.

    Raises:
        CheckpointError: if the source cannot be used, or the folder is taken; one sentence.

    Example:

    ```python
    >>> import tempfile
    >>> from transformers import AutoModelForVideoClassification
    >>> from hf_ttr.hub import convert

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     converted = convert("hf_ttr/assets/vit-demo", f"{folder}/shuttle", {"compute_budget": 0.2})
    ...     model = AutoModelForVideoClassification.from_pretrained(converted.folder)
    >>> model.config.temporal_reuse.compute_budget
    0.2
    >>> f"{converted.architecture}, {converted.weights_bytes / 1e6:.1f} MB"
    'TemporalReuseViTForVideoClassification, 5.3 MB'
    ```
    """
    import hf_ttr

    model, target, settings = os.fspath(source), os.fspath(folder), dict(temporal_reuse or {})
    _check_target(model, target, overwrite)
    model_type = checkpoint_type(model)
    processor = load_video_processor(model)
    with naming_model(model, settings):
        class_name = {**PARENT_TYPES, **REUSE_TYPES}[model_type]
        config = getattr(hf_ttr, class_name).config_class.from_pretrained(model, temporal_reuse=settings)
        if model_type in REUSE_TYPES and config.architectures:
            class_name = config.architectures[0]
        config.architectures = [class_name]
        config.forget_foreign_code()
        config.temporal_reuse.active_reductions(config.model_shape())
        weights = list(_weight_files(model))
    with _naming_folder(target), replacing_folder(target) as temporary:
        for path in weights:
            with _naming_weights(path, temporary):
                shutil.copyfile(path, os.path.join(temporary, os.path.basename(path)))
        config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        load_classifier(model, class_name, {}, folder=temporary)
    size = sum(os.path.getsize(os.path.join(target, os.path.basename(path))) for path in weights)
    return ConvertedCheckpoint(target, model, class_name, config.temporal_reuse, size)


def push_to_hub(
    folder: str | os.PathLike[str], repo_id: str, private: bool | None = None, token: str | None = None
) -> str:
    """
    Uploads the folder of a checkpoint, with its card (`README.md`) if it has one.

    Args:
        folder (`str` or `os.PathLike`): the folder of a checkpoint.
        repo_id (`str`): name of the repository, such as `"me/vit-with-reuse"`. It is made if it is not there.
        private (`bool`, *optional*): whether others may not see a repository that is made; by default as the account
            says.
        token (`str`, *optional*): of the account; by default the one that `hf auth login` keeps.

    Returns:
        `str`: the address of the repository.

    Raises:
        CheckpointError: if the folder holds no checkpoint, or the Hub does not take it; one sentence.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    path = os.fspath(folder)
    if not os.path.isfile(os.path.join(path, "config.json")):
        raise CheckpointError(f"The folder '{path}' holds no model (no config.json); pass the folder of a checkpoint.")
    check_repo_id(repo_id, path)
    command = f"`{shlex.join(['hf', 'upload', repo_id, path])}`"
    api = HfApi(token=token)
    try:
        repo = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo.repo_id,
            folder_path=path,
            commit_message="Upload checkpoint with temporal token reuse",
            # transformers would go on loading a single file that shards took the place of.
            delete_patterns=["model*.safetensors", WEIGHTS_INDEX],
        )
    except OfflineModeIsEnabled as error:
        raise CheckpointError(
            f"'{path}' cannot be pushed to '{repo_id}' while HF_HUB_OFFLINE is set; unset it, then {command}."
        ) from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        hint = "log in with `hf auth login` as one who may write there" if status in (401, 403) else "try again later"
        reason = (error.server_message or first_line(error)).rstrip(".")
        raise CheckpointError(
            f"The Hub does not take '{path}' as '{repo_id}' ({reason}); {hint}, then {command}."
        ) from error
    except _connection_errors() as error:
        raise CheckpointError(
            f"'{path}' cannot be pushed to '{repo_id}', as the Hub cannot be reached ({first_line(error)}); check the "
            f"network, then {command}."
        ) from error
    return str(repo)


def check_repo_id(repo_id: str, folder: str | os.PathLike[str]) -> None:
    """
    Looks whether a repository may be called so; `folder` is what it is to hold.

    Raises:
        CheckpointError: if not; one sentence.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise CheckpointError(
            f"'{repo_id}' cannot be the name of a repository on the Hub ({first_line(error)}); pass one like "
            f"'me/{os.path.basename(os.path.abspath(folder))}'."
        ) from error


def _connection_errors() -> tuple[type[Exception], ...]:
    try:
        # Newer versions of huggingface_hub bring an HTTP client of their own.
        from huggingface_hub.utils import httpx
    except ImportError:
        import httpx  # type: ignore[no-redef]

    return (OSError, httpx.HTTPError)


def _weight_files(model: str) -> Iterator[str]:
    """Paths of a checkpoint's safetensors, and of their index where there are several; from the Hub if need be."""
    from transformers.utils import cached_file
    from transformers.utils.hub import get_checkpoint_shard_files

    single = cached_file(model, WEIGHTS, _raise_exceptions_for_missing_entries=False)
    if single is not None:
        yield single
        return
    index = cached_file(model, WEIGHTS_INDEX, _raise_exceptions_for_missing_entries=False)
    if index is None:
        raise FileNotFoundError(f"it has no {WEIGHTS}")
    with open(index, encoding="utf-8") as file:
        _check_names(json.load(file)["weight_map"].values())
    yield index
    for shard in get_checkpoint_shard_files(model, index)[0]:
        if not os.path.isfile(shard):
            raise FileNotFoundError(f"its {os.path.basename(shard)} is missing")
        yield shard


def _check_names(names: Iterable[str]) -> None:
    """Makes sure that an index names files beside it."""
    for name in names:
        if os.path.basename(name) != name or not name.endswith(".safetensors"):
            raise ValueError(f"its {WEIGHTS_INDEX} names the file '{name}'")


def _check_target(source: str, folder: str, overwrite: bool) -> None:
    """
    Looks whether a checkpoint may be written to a folder.

    Raises:
        CheckpointError: if there is something that it must not replace.
    """
    if not folder.strip():
        raise CheckpointError("The name of the folder to write to is empty; pass one that is not there yet.")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise CheckpointError(f"'{folder}' is a file; pass a folder to write to.")
    if os.path.isdir(source):
        real_source, real_folder = os.path.realpath(source), os.path.realpath(folder)
        if os.path.commonpath([real_source, real_folder]) == real_folder:
            raise CheckpointError(
                f"The folder '{folder}' holds the model to convert, '{source}'; pass another one to write to."
            )
    if not os.path.isdir(folder) or not os.listdir(folder):
        return
    if not overwrite:
        raise CheckpointError(f"The folder '{folder}' is not empty; pass another one, or --overwrite to replace it.")
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise CheckpointError(
            f"The folder '{folder}' holds something other than a checkpoint (no config.json), and is not replaced; "
            "pass another one."
        )
    for name in sorted(os.listdir(folder)):
        if not _OF_A_CHECKPOINT.fullmatch(name):
            raise CheckpointError(
                f"The folder '{shown(folder)}' holds '{shown(name)}' beside a checkpoint, and is not replaced; move "
                "it elsewhere, or pass another folder."
            )


@contextmanager
def _naming_weights(path: str, folder: str) -> Iterator[None]:
    """Tells a file that cannot be read from a folder that cannot be written."""
    try:
        yield
    except OSError as error:
        try:
            with open(path, "rb") as file:
                while file.read(1 << 24):
                    pass
        except OSError as fault:
            raise CheckpointError(
                f"The weights '{shown(path)}' cannot be read ({fault.strerror or first_line(fault)}); replace them by "
                "a complete copy."
            ) from fault
        raise error


@contextmanager
def _naming_folder(folder: str) -> Iterator[None]:
    """Makes one sentence that names the folder of what goes wrong while it is written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"'{folder}' cannot be written ({first_line(error)}); pass a folder where there is room."
        ) from error
