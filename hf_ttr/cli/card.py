"""`hf-ttr card`: the model card of a checkpoint, with what was measured of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from ..display import shown
from .errors import InputError, ends_quietly, first_line


if TYPE_CHECKING:
    from ..cards.model_card import ReuseModelCardData


@ends_quietly
def card(
    model: Annotated[str, typer.Argument(metavar="MODEL_DIR", help="Folder of the checkpoint.", show_default=False)],
    evaluation: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Summary of an evaluation of the model.")
    ] = None,
    benchmarks: Annotated[
        str | None, typer.Option(metavar="FILE.json", help="Benchmark results, of which those of the model are taken.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="README.md", help="Where to write it; by default into the model's folder.")
    ] = None,
    model_id: Annotated[
        str | None, typer.Option(metavar="ID", help="What the examples load; by default MODEL_DIR.")
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Hub id of the base model; by default that of the card that is there."),
    ] = None,
    license_: Annotated[
        str | None,
        typer.Option(
            "--license", metavar="NAME", help="Licence of the base model, as the Hub names it, such as apache-2.0."
        ),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Hub id of what the base model was trained on; may come several times."),
    ] = None,
    evaluation_dataset: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Hub id of the dataset of --evaluation, for its leaderboard there."),
    ] = None,
    evaluation_task: Annotated[
        str, typer.Option(metavar="TASK", help="Which task of that dataset, as its eval.yaml names it.")
    ] = "default",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Write the model card of a checkpoint: how to use it, and what was measured of it."""
    from ..cards.source import SourceFacts, source_facts
    from ..cards.text import command_line

    if not os.path.isdir(model):
        reason = "is a file" if os.path.exists(model) else "does not exist"
        raise InputError(f"The model folder '{shown(model)}' {reason}; pass the folder of a checkpoint.")

    from ..cards.model_card import ReuseModelCardData
    from .loading import quiet

    out = os.path.join(model, "README.md") if out is None else out
    options = {
        "--evaluation": evaluation,
        "--benchmarks": benchmarks,
        "--model-id": model_id,
        "--base-model": base_model,
        "--license": license_,
        "--evaluation-dataset": evaluation_dataset,
    }
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    given += [part for name in dataset or [] for part in ("--dataset", name)]
    # What the card that is there tells, as that of `hf-ttr convert`, need not be said again.
    known = source_facts(model) if os.path.isdir(model) else SourceFacts()
    try:
        with quiet():
            data = ReuseModelCardData.from_directory(
                model,
                evaluation=evaluation,
                benchmarks=benchmarks,
                model_id=model_id,
                base_model=base_model or known.base_model,
                license=license_ or known.license,
                datasets=dataset or known.datasets,
                evaluation_dataset=evaluation_dataset,
                evaluation_task=evaluation_task,
                command=command_line(["hf-ttr", "card", model, *given]),
            )
            written = _written(data, out, overwrite)
    except ValueError as error:
        raise InputError(shown(error, None)) from error
    for path in written:
        typer.echo(f"Written: {shown(path)}")
    if not data.figures:
        typer.echo("There are no figures of this model with these settings; the card says how to measure them.")
    elif evaluation is not None and evaluation_dataset is None:
        typer.echo("No result for a leaderboard of the Hub: --evaluation-dataset would say which.")


def _written(data: ReuseModelCardData, out: str, overwrite: bool) -> list[str]:
    """Writes the card; what cannot be written is told from what cannot be read."""
    from ..cards.model_card import save_model_card

    try:
        return save_model_card(data, out, overwrite)
    except OSError as error:
        raise InputError(
            f"'{shown(out)}' cannot be written ({error.strerror or first_line(error)}); pass another --out."
        ) from error
