"""`hf-ttr convert`: a plain checkpoint becomes one with reuse, in a folder and on the Hub."""

from __future__ import annotations

from typing import Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly
from .options import Budget, Mode, Reduction, Threshold, Wanted


@ends_quietly
def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Folder or Hub id of a ViT image classifier or VideoMAE video classifier.",
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
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a checkpoint that DST holds.")] = False,
) -> None:
    """Make a checkpoint with temporal token reuse: the same weights, and the settings in its config."""
    wanted = Wanted(threshold, budget, mode, reduction)
    if private and push_to_hub is None:
        raise InputError("--private has no meaning without --push-to-hub; add it, or leave --private out.")

    from .. import hub
    from .loading import quiet
    from .report import settings_text

    if push_to_hub is not None:
        hub.check_repo_id(push_to_hub, folder)
    with quiet():
        converted = hub.convert(source, folder, wanted.settings, overwrite=overwrite)
        parts = [converted.architecture, settings_text(converted.temporal_reuse.to_dict())]
        parts.append(f"the weights of {shown(source)} as they are ({converted.weights_bytes / 1e6:.1f} MB)")
        typer.echo(f"{shown(folder)}: {', '.join(parts)}")
        if push_to_hub is not None:
            typer.echo(hub.push_to_hub(folder, push_to_hub, private=private or None))
