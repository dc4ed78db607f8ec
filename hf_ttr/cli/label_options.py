"""The options that choose labels: `--labels` and `--template`, and what they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ..answers.candidate_labels import HYPOTHESIS_TEMPLATE, check_candidate_labels, hypotheses
from ..display import shown
from .errors import InputError


Labels = Annotated[
    str | None,
    typer.Option(
        metavar="A,B|@FILE",
        help="What may be seen, for a model with a text tower, such as a CLIP or SigLIP: 'a cat,a dog', or @ and a "
        "text file with one on each line.",
        show_default="the model's",
    ),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="The sentence that --labels are put into, with {} where the label belongs.",
        show_default=HYPOTHESIS_TEMPLATE,
    ),
]


@dataclass(frozen=True)
class ChosenLabels:
    """
    Labels that a user chose.

    Attributes:
        candidate_labels (`list[str]`): the labels.
        hypothesis_template (`str`): the sentence that they are put into.
    """

    candidate_labels: list[str]
    hypothesis_template: str = HYPOTHESIS_TEMPLATE

    @classmethod
    def of(cls, labels: str | None, template: str | None) -> ChosenLabels | None:
        """
        What the options say, checked; `None` where the labels are those of the model.

        Args:
            labels, template (`str`, *optional*): as given.

        Raises:
            InputError: one sentence, if they are none.
        """
        if labels is None:
            if template is not None:
                raise InputError("--template is for --labels, which are not given; pass them, or leave it out.")
            return None
        try:
            found = check_candidate_labels(_split(labels), exclusive=False)
            chosen = cls(found, HYPOTHESIS_TEMPLATE if template is None else template)
            hypotheses(found, chosen.hypothesis_template)
        except ValueError as error:
            raise InputError(as_label_options(str(error))) from error
        return chosen


def as_label_options(sentence: str) -> str:
    """A sentence of the library about chosen labels as one about the options."""
    return sentence.replace("candidate_labels", "--labels").replace("hypothesis_template", "--template")


def _split(text: str) -> list[str]:
    """The labels in what was given, without blanks around them."""
    if not text.startswith("@"):
        return [label.strip() for label in text.split(",")]
    path = text[1:]
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise InputError(
            f"--labels is '{shown(text)}', but that file cannot be read ({reason}); pass @ and the path of a text "
            "file with a label on each line."
        ) from error
    return [line for line in lines if line]


__all__ = ["ChosenLabels", "Labels", "Template", "as_label_options"]
