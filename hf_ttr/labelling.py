"""Labels that a user chooses: a text tower reads them once, and what it makes of them takes its place."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel

from .answers.candidate_labels import HYPOTHESIS_TEMPLATE, check_candidate_labels, hypotheses
from .configuration import TemporalReuseConfig, as_temporal_reuse_config
from .conversion import share_modules, with_temporal_reuse
from .display import shown
from .models.register import MODELS, entry_for, stand_in_for
from .models.zero_shot import ZeroShotClassifier


def zero_shot(
    model: str | PreTrainedModel,
    candidate_labels: Sequence[str],
    hypothesis_template: str = HYPOTHESIS_TEMPLATE,
    config: TemporalReuseConfig | dict[str, Any] | None = None,
    tokenizer: Any = None,
) -> PreTrainedModel:
    """
    Returns a video classifier with reuse of any labels, out of a model that compares pictures with texts.

    Scores are those of transformers' `zero-shot-image-classification` pipeline, frame by frame: in mode "off" the
    same, at threshold 0 up to rounding. The text tower reads the labels here, once; the classifier holds what it made
    of them, no tower and no tokenizer, also where it is saved and loaded.

    Args:
        model (`str` or `PreTrainedModel`): a CLIP, SigLIP, SigLIP 2 or MetaCLIP 2 with its text tower, plain or with
            reuse: folder or Hub id, or the model itself, which works as before and shares its weights.
        candidate_labels (`list[str]`): what may be seen.
        hypothesis_template (`str`): the sentence that the tower reads, with `{}` where the label belongs.
        config (`TemporalReuseConfig` or `dict`, *optional*): the settings of reuse; those of the model if left out.
        tokenizer (*optional*): of the model; by default the one beside its checkpoint.

    Returns:
        The classifier, in the mode (training or evaluation) of the model that is given; its labels are in
        `config.id2label`. Of a SigLIP each label has a score by itself; of a CLIP they sum up to 1.

    Raises:
        ValueError: if the model has no text tower, there is no tokenizer, or labels or template are none; one
            sentence.

    Example:

    ```python
    >>> import hf_ttr

    >>> model = hf_ttr.zero_shot(  # doctest: +SKIP
    ...     "google/siglip2-base-patch16-224", ["an empty driveway", "a person at the door"]
    ... )
    >>> model.config.id2label  # doctest: +SKIP
    {0: 'an empty driveway', 1: 'a person at the door'}
    ```
    """
    source = _with_text_tower(model, config)
    labels = check_candidate_labels(candidate_labels, source.exclusive)
    texts = hypotheses(labels, hypothesis_template)
    features = _read(source, labels, texts, tokenizer)

    own = copy.deepcopy(source.config)
    own.id2label = dict(enumerate(labels))
    own.label2id = {label: number for number, label in enumerate(labels)}
    own.problem_type = "single_label_classification" if source.exclusive else "multi_label_classification"
    own.hypothesis_template = hypothesis_template
    # What was loaded by its name has them, beside those that were saved with it.
    if config is not None and not isinstance(model, str):
        own.temporal_reuse = as_temporal_reuse_config(config)
    with torch.device("meta"):
        result = type(source)(own)
    share_modules(result, source, but=("text_model", "text_projection"))
    result.put_labels(features)
    # What is shared stays in the mode that it is in.
    return result.train(source.training)


def has_text_tower(model: Any) -> bool:
    """Whether a model compares pictures with texts, and its labels are still to be chosen."""
    kind = stand_in_for(type(model))
    if kind is None or not issubclass(kind, ZeroShotClassifier):
        return False
    return not isinstance(model, ZeroShotClassifier) or model.has_text_tower


def _with_text_tower(model: str | PreTrainedModel, config: Any) -> Any:
    """
    The model with reuse that reads the labels.

    Raises:
        ValueError: if there is none.
    """
    if isinstance(model, str):
        found, _ = PreTrainedConfig.get_config_dict(model)
        entry = entry_for(found.get("model_type"))
        if entry is None or entry.zero_shot is None or not entry.reads_labels(found):
            raise ValueError(no_text_tower(model, found.get("architectures"), found.get("hypothesis_template")))
        settings: dict[str, Any] = {} if config is None else {"temporal_reuse": config}
        # Its types know what it returns without the report.
        kind: Any = entry.zero_shot
        loaded, report = kind.from_pretrained(model, output_loading_info=True, **settings)
        if missing := sorted(report["missing_keys"]):
            raise ValueError(
                f"The model {shown(model)!r} has no weights for {', '.join(missing[:3])}; pass one with both of its "
                "towers."
            )
        return loaded
    if not has_text_tower(model):
        template = getattr(model.config, "hypothesis_template", None)
        raise ValueError(no_text_tower(str(model.config.name_or_path or ""), [type(model).__name__], template))
    return model if isinstance(model, ZeroShotClassifier) else with_temporal_reuse(model)


def no_text_tower(name: str, architectures: Any, template: str | None) -> str:
    """
    Why the labels of a model cannot be chosen, as one sentence.

    Args:
        name (`str`): the folder or Hub id, maybe empty.
        architectures: as in its config: names of classes, or anything.
        template (`str`, *optional*): the `hypothesis_template` of its config.
    """
    kinds = architectures if isinstance(architectures, list) else []
    what = f"The model{f' {shown(name)!r}' if name else ''}{f', a {kinds[0]},' if kinds else ''}"
    if template is not None:
        return (
            f"{what} holds the labels that were chosen when it was made, and no text tower; leave candidate_labels "
            "out, or pass the model that it was made of."
        )
    names = sorted({entry.config.parent_name for entry in MODELS.values() if entry.zero_shot is not None})
    return (
        f"{what} has the labels that it was trained with, and no text tower that could read others; leave "
        f"candidate_labels out, or pass a {', '.join(names[:-1])} or {names[-1]} with its text tower."
    )


@torch.no_grad()
def _read(model: Any, labels: list[str], texts: list[str], tokenizer: Any) -> torch.Tensor:
    """What the text tower makes of the sentences of labels, `(labels, size)`."""
    inputs = (tokenizer or _tokenizer_of(model))(texts, return_tensors="pt", **model.tokenizing)
    most, tokens = model.config.text_config.max_position_embeddings, inputs["input_ids"].shape[1]
    if tokens > most:
        longest = max(labels, key=len)
        raise ValueError(
            f"the label {shown(longest)!r} makes a text of {tokens} tokens, but the model reads at most {most}; "
            "shorten it."
        )
    was_training = model.training
    try:
        features: torch.Tensor = model.eval().get_text_features(**inputs.to(model.device)).pooler_output
    finally:
        model.train(was_training)
    return features


def _tokenizer_of(model: Any) -> Any:
    """
    The tokenizer of the checkpoint that a model came from.

    Raises:
        ValueError: if there is none.
    """
    name = model.config.name_or_path
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"there is no tokenizer for the labels beside the {type(model).__name__} in {shown(name)!r}; pass the one "
            "that it was trained with as tokenizer."
        ) from error


__all__ = ["has_text_tower", "no_text_tower", "zero_shot"]
