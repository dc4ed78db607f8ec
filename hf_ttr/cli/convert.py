"""`hf-ttr convert`: a plain checkpoint becomes one with reuse, in a folder and on the Hub."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly
from .options import DTYPES, Budget, Mode, Reduction, Threshold, Wanted, check_paths


if TYPE_CHECKING:
    from ..hub import ConvertedCheckpoint


@ends_quietly
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder or Hub id of an image or video classifier.",
            show_default=False,
        ),
    ],
    folder: Annotated[str, typer.Argument(metavar="DST", help="The folder to write.", show_default=False)],
    threshold: Threshold = None,
    budget: Budget = None,
    mode: Mode = None,
    reduction: Reduction = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="REPO_ID", help="Upload the folder to this repository of the Hub as well.")
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(DTYPES),
            help="How to write the weights.",
            show_default="as they are, but float16 as float32, as most CPUs are several times slower with it",
        ),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that DST holds.")] = False,
) -> None:
    """Make a checkpoint with temporal token reuse: the same weights, and the settings in its config."""
    wanted = Wanted(threshold, budget, mode, reduction, dtype=dtype)
    check_paths(source)
    if private and push_to_hub is None:
        raise InputError("--private has no meaning without --push-to-hub; add it, or leave --private out.")

    from ..hub import publishing
    from .loading import quiet
    from .report import settings_text

    if push_to_hub is not None:
        publishing.check_repo_id(push_to_hub, folder)
    with quiet():
        converted = publishing.convert(source, folder, wanted.settings, overwrite, dtype, push_to_hub)
        parts = [converted.architecture, settings_text(converted.temporal_reuse.to_dict())]
        parts.append(f"the weights of {shown(source)} {_dtypes(converted)} ({converted.weights_bytes / 1e6:.1f} MB)")
        typer.echo(f"{shown(folder)}: {', '.join(parts)}")
        if dtype is None and converted.cast is not None:
            typer.echo(
                "Most CPUs are several times slower with float16 than with float32; --dtype float16 keeps it, "
                "for a GPU."
            )
        typer.echo(_source(converted))
        if push_to_hub is not None:
            typer.echo(publishing.push_to_hub(folder, push_to_hub, private=private or None))


def _dtypes(converted: ConvertedCheckpoint) -> str:
    if converted.cast is None:
        return "as they are"
    before, after = converted.cast
    return f"in {after}, which were in {before}"


def _source(converted: ConvertedCheckpoint) -> str:
    """What the card says of the source, and how to add what it does not."""
    facts = {"base model": converted.base_model, "licence": converted.license}
    known = ", ".join(f"{name} {shown(value)}" for name, value in facts.items() if value is not None)
    options = {"--base-model ID": converted.base_model, "--license NAME": converted.license}
    missing = " ".join(option for option, value in options.items() if value is None)
    if not missing:
        return f"Its card README.md: {known}."
    command = f"hf-ttr card {shlex.quote(shown(converted.folder, None))} {missing} --overwrite"
    return f"Its card README.md: {known or 'base model and licence not known'}; `{command}` adds the rest."
