"""Plain checkpoints become checkpoints with reuse, and these go to the Hub."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ..cards.source import SourceFacts, source_facts
from ..checks import first_line
from ..configuration import TemporalReuseConfig
from ..display import shown
from ..storage.files import replacing_folder
from .checkpoints import (
    CheckpointError,
    checkpoint_type,
    classifier_class,
    load_classifier,
    load_video_processor,
    naming_model,
)
from .weight_files import DTYPES, dtypes_of, write_size, write_weights


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
        cast (`tuple[str, str]`, *optional*): the dtype of the source's weights and that of its own, where they differ.
        base_model, license (`str`, *optional*): what its card says of its source.
    """

    folder: str
    source: str
    architecture: str
    temporal_reuse: TemporalReuseConfig
    weights_bytes: int
    cast: tuple[str, str] | None = None
    base_model: str | None = None
    license: str | None = None


def convert(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    temporal_reuse: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    dtype: str | None = None,
    repo_id: str | None = None,
) -> ConvertedCheckpoint:
    """
    Makes a checkpoint with reuse of an image or video classifier.

    The files of weights are copied as they are, but those in float16, which are written in float32: on a CPU float16
    is several times slower. The config says how to reuse, the processor takes images and videos, a module of a few
    lines lets `trust_remote_code=True` find this package, and the card (`README.md`) has the base model and the
    licence, as far as the card of the source tells them. The folder appears once the model in it was loaded.

    Args:
        source (`str` or `os.PathLike`): folder or Hub id of a plain checkpoint, or of one with reuse, whose settings
            are then changed.
        folder (`str` or `os.PathLike`): where to write.
        temporal_reuse (`dict`, *optional*): settings of `TemporalReuseConfig` that differ from the defaults, or from
            those of the source.
        overwrite (`bool`): whether a checkpoint that is there is replaced.
        dtype (`str`, *optional*): of the weights that are written: `"float32"`, `"float16"` or `"bfloat16"`.
        repo_id (`str`, *optional*): where the checkpoint will be on the Hub, for its card.

    Raises:
        CheckpointError: if the source cannot be used, or the folder is taken; one sentence.

    Example:

    ```python
    >>> import tempfile
    >>> from transformers import AutoModelForVideoClassification
    >>> import hf_ttr
    >>> from hf_ttr.hub import convert

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     converted = convert(hf_ttr.example("vit-demo"), f"{folder}/shuttle", {"compute_budget": 0.2})
    ...     model = AutoModelForVideoClassification.from_pretrained(converted.folder)
    >>> model.config.temporal_reuse.compute_budget
    0.2
    >>> f"{converted.architecture}, {converted.weights_bytes / 1e6:.1f} MB"
    'TemporalReuseViTForVideoClassification, 5.3 MB'
    ```
    """
    model, target, settings = os.fspath(source), os.fspath(folder), dict(temporal_reuse or {})
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f"The dtype is '{dtype}', but must be one of {', '.join(DTYPES)}.")
    _check_target(model, target, overwrite)
    checkpoint_type(model)
    processor = load_video_processor(model)
    with naming_model(model, settings):
        kind = classifier_class(model)
        config = kind.config_class.from_pretrained(model, temporal_reuse=settings)
        config.architectures = [kind.__name__]
        config.forget_foreign_code()
        config.temporal_reuse.active_reductions(config.model_shape())
        weights = list(_weight_files(model))
        cast = _cast_of(model, config, [path for path in weights if path.endswith(".safetensors")], dtype)
        if cast is not None:
            config.dtype = cast[1]
    facts = source_facts(model)
    with _naming_folder(target), replacing_folder(target) as temporary:
        for path in weights:
            with _naming_weights(path):
                try:
                    write_weights(path, temporary, None if cast is None else cast[1])
                except ValueError as error:
                    raise CheckpointError(
                        f"The model '{model}' cannot be written like this: {first_line(error)}; pass another dtype."
                    ) from error
        config.save_pretrained(temporary)
        processor.save_pretrained(temporary)
        if cast is not None and os.path.isfile(index := os.path.join(temporary, WEIGHTS_INDEX)):
            shards = (os.path.join(temporary, os.path.basename(path)) for path in weights)
            write_size(index, (path for path in shards if path.endswith(".safetensors")))
        load_classifier(model, kind, {}, folder=temporary)
        _write_card(temporary, repo_id or os.path.basename(os.path.abspath(target)), facts)
    size = sum(os.path.getsize(os.path.join(target, os.path.basename(path))) for path in weights)
    return ConvertedCheckpoint(
        target, model, kind.__name__, config.temporal_reuse, size, cast, facts.base_model, facts.license
    )


def _cast_of(model: str, config: Any, weights: list[str], dtype: str | None) -> tuple[str, str] | None:
    """From which dtype to which the weights go; `None` if they stay as they are."""
    found: set[str] = set()
    for path in weights:
        with _naming_weights(path):
            found |= dtypes_of([path])
    if getattr(config, "quantization_config", None) is not None:
        if dtype is not None:
            raise CheckpointError(f"The weights of '{model}' are quantized, and stay so; leave the dtype out.")
        return None
    if dtype is None and "float16" in found:
        dtype = "float32"
    return None if dtype is None or found <= {dtype} else (" and ".join(sorted(found)), dtype)


def _write_card(folder: str, model_id: str, facts: SourceFacts) -> None:
    from ..cards.model_card import ReuseModelCardData, save_model_card

    about = asdict(facts)
    data = ReuseModelCardData.from_directory(folder, model_id=model_id, **about)
    save_model_card(data, os.path.join(folder, "README.md"), overwrite=True)


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
def _naming_weights(path: str) -> Iterator[None]:
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
