"""Labels that a user chooses: what may be one, and the sentence that a text tower is given of each."""

from __future__ import annotations

from collections.abc import Sequence

from ..display import shown


HYPOTHESIS_TEMPLATE = "This is a photo of {}."
"""What transformers' pipelines put labels into."""


def check_candidate_labels(labels: Sequence[str], exclusive: bool) -> list[str]:
    """
    The labels as a list.

    Args:
        labels (`list[str]`): what the user chose.
        exclusive (`bool`): whether their scores sum up to 1, so that there have to be two.

    Raises:
        ValueError: if they are no labels, or too few, or one is empty or there twice; one sentence.
    """
    if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"candidate_labels is {shown(repr(labels), 80)}, but must be a list of texts, such as ['a cat', 'a dog']."
        )
    found = list(labels)
    if not found:
        raise ValueError("candidate_labels holds no label; pass what may be seen, such as ['a cat', 'a dog'].")
    if empty := [number for number, label in enumerate(found, 1) if not label.strip()]:
        raise ValueError(f"label {empty[0]} of candidate_labels is empty; leave it out, or write it.")
    if twice := [label for label in dict.fromkeys(found) if found.count(label) > 1]:
        raise ValueError(f"the label {shown(twice[0])!r} is in candidate_labels more than once; leave the others out.")
    if exclusive and len(found) == 1:
        raise ValueError(
            f"candidate_labels holds the label {shown(found[0])!r} alone, whose score would be 1 whatever is seen, as "
            "the scores of this model sum up to 1; pass at least two."
        )
    return found


def hypotheses(labels: Sequence[str], template: str) -> list[str]:
    """
    The sentence for each label.

    Args:
        labels (`list[str]`): the labels.
        template (`str`): a sentence with `{}` where the label belongs.

    Raises:
        ValueError: if the template has no such place; one sentence.
    """
    try:
        is_template = template.format("a") != template.format("b")
    except (AttributeError, IndexError, KeyError, ValueError):
        is_template = False
    if not is_template:
        raise ValueError(
            f"hypothesis_template is {shown(repr(template), 80)}, but must be a text with one {{}} in it, where the "
            f"label belongs, such as {HYPOTHESIS_TEMPLATE!r}."
        )
    return [template.format(label) for label in labels]


__all__ = ["HYPOTHESIS_TEMPLATE", "check_candidate_labels", "hypotheses"]
