"""Model cards: what a checkpoint with reuse is, how to use it, and what was measured of it, as the Hub shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import validate_repo_id

from .. import __version__
from ..checks import is_number, is_whole
from ..display import shown
from ..evaluation.hub_results import EVAL_RESULTS, TASK, accuracy_entries
from ..hub.remote_code import is_own
from ..models.register import MODELS, classifier_names, classifier_types, entry_for, is_classifier, parent_of
from ..reduction.base import UNKNOWN
from ..storage.files import replacing
from .figures import (
    Figures,
    Interval,
    SpeedFigures,
    benchmark_figures,
    evaluation_figures,
    random_weights_speed,
    read_json,
    settings_in_force,
)
from .sections import fidelity_section, listed, setting_text, speed_section
from .text import LICENSE, code, command_line, fenced, literal, markdown, plain


TEMPLATE = Path(__file__).with_name("model_card_template.md")
OFF = '{"temporal_reuse": {"mode": "off"}}'
_SHOWN_LABELS = 20


@dataclass(repr=False, eq=False)
class ReuseModelCardData(ModelCardData):
    """
    What a card says of a checkpoint; as metadata, the part of it that the Hub reads.

    Args:
        model_id: what the examples load, a folder or Hub id.
        config: of the model with reuse.
        is_plain: whether the checkpoint itself is one of transformers, without reuse.
        model_name: for people.
        labels: the names of the classes where the checkpoint has them.
        base_model, license: Hub id of the base model, and its licence as the Hub names it.
        datasets: Hub ids of what the base model was trained on.
        tags: more tags.
        figures: what was measured.
        speed: what was timed with random weights.
        trained_accuracy, trained_clips: the accuracy that was measured when the model was trained, of the dense model.
        evaluation_dataset, evaluation_task: Hub id of the dataset that `figures[0]` is of, and its task, for the
            evaluation results that the Hub collects.
        command: what made the card.

    Example:

    ```python
    >>> import hf_ttr
    >>> from hf_ttr.cards.model_card import ReuseModelCardData

    >>> data = ReuseModelCardData.from_directory(hf_ttr.example("vit-demo"), license="apache-2.0")
    >>> data.library_name, data.pipeline_tag
    ('hf-ttr', 'video-classification')
    >>> "Nothing was measured" in str(data.card())
    True
    ```
    """

    model_id: str
    config: Any
    is_plain: bool = False
    model_name: str = "model"
    labels: list[str] = field(default_factory=list)
    base_model: str | None = None
    license: str | None = None
    datasets: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    figures: list[Figures] = field(default_factory=list)
    speed: SpeedFigures | None = None
    trained_accuracy: float | None = None
    trained_clips: int | None = None
    evaluation_dataset: str | None = None
    evaluation_task: str = "default"
    command: str | None = None
    library_name: str = field(init=False)
    pipeline_tag: str = field(init=False, default=TASK)
    eval_results: list[EvalResult] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        for what, name in (
            ("base model", self.base_model),
            *(("dataset", name) for name in self.datasets),
            ("dataset of the evaluation", self.evaluation_dataset),
        ):
            if name is not None:
                _check_hub_id(what, name)
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise ValueError(
                f"The license is {self.license!r}, but must be as the Hub names it, such as 'apache-2.0' or "
                "'cc-by-nc-4.0'."
            )
        # What transformers' own video pipeline cannot load needs an import.
        self.library_name = "transformers" if self.is_plain and self.is_window_model else "hf-ttr"
        # A single clip says nothing about others.
        of_many = (figures for figures in self.figures if figures.clips > 1)
        self.eval_results = [result for figures in of_many for result in self._results_of(figures)] or None

    @classmethod
    def from_directory(
        cls,
        model: str | os.PathLike[str],
        *,
        evaluation: str | os.PathLike[str] | None = None,
        benchmarks: str | os.PathLike[str] | None = None,
        model_id: str | None = None,
        **about: Any,
    ) -> ReuseModelCardData:
        """
        Looks at a checkpoint, and at what was measured of it.

        Args:
            model: the folder of the checkpoint; only its config.json is read, and its training.json if it has one.
            evaluation: the JSON summary of an evaluation of it.
            benchmarks: a JSON file of benchmark results; what it holds of a model of this name with these settings is
                taken, and of random weights of this size.
            model_id: what the examples load; by default the folder as it was given.
            about: `base_model`, `license`, `datasets`, `tags`, `evaluation_dataset`, `evaluation_task`, `command`.

        Raises:
            ValueError: one sentence, if something cannot be used.
        """
        model_id = os.fspath(model) if model_id is None else model_id
        config, raw = _read_config(model)
        names = raw.get("id2label")
        labels = [str(names[key]) for key in sorted(names, key=_as_index)] if isinstance(names, dict) else []
        name = os.path.basename(os.path.abspath(model if os.path.isdir(model_id) else model_id))
        kind, plans_windows = config.parent_name, config.plans_windows
        if about.get("evaluation_dataset") is not None and evaluation is None:
            raise ValueError(
                f"The dataset of the evaluation is {about['evaluation_dataset']!r}, but there is no evaluation; pass "
                "its summary as well."
            )
        figures, speed = [], None
        if evaluation is not None:
            figures.append(evaluation_figures(evaluation, kind, plans_windows, _class_names(config)))
        if benchmarks is not None:
            settings = settings_in_force(config.temporal_reuse, plans_windows)
            figures += benchmark_figures(benchmarks, name, settings, plans_windows)
            speed = random_weights_speed(benchmarks, kind, config.vision.hidden_size)
        accuracy, clips = _trained(model)
        return cls(
            model_id,
            config,
            is_plain=raw["model_type"] == config.parent_model_type,
            model_name=plain(name) or "model",
            labels=labels,
            figures=figures,
            speed=speed,
            trained_accuracy=accuracy,
            trained_clips=clips,
            **about,
        )

    # -----------------------------------------------------------------------------------------------------------------
    # Metadata
    # -----------------------------------------------------------------------------------------------------------------

    @property
    def is_window_model(self) -> bool:
        """Whether the model sees windows of frames, and not frame by frame."""
        return self.config.window_frames is not None

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of reuse that the model reads, with their values in force."""
        return settings_in_force(self.config.temporal_reuse, self.config.plans_windows)

    def _results_of(self, figures: Figures) -> list[EvalResult]:
        is_evaluation = self.evaluation_dataset is not None and figures is self.figures[0]
        identifier = self.evaluation_dataset if is_evaluation else _slug(figures.dataset)
        metrics = {
            "accuracy": ("Accuracy with reuse", _value(figures.accuracy)),
            "top1_agreement": ("Agreement with the dense model", _value(figures.top1_agreement)),
            "kl_divergence": ("KL divergence from the dense model", figures.metrics.get("kl")),
            "multiply_add_ratio": (
                "Multiply-adds of the dense model over those with reuse",
                figures.metrics.get("multiply_add_ratio"),
            ),
        }
        return [
            EvalResult(
                task_type=TASK,
                task_name="Video classification",
                dataset_type=str(identifier),
                dataset_name=plain(figures.dataset),
                dataset_split=None if figures.split is None else plain(figures.split),
                metric_type=metric,
                metric_name=name,
                metric_value=value,
            )
            for metric, (name, value) in metrics.items()
            if value is not None
        ]

    def to_dict(self) -> dict[str, Any]:
        """The metadata of the card."""
        results = self.eval_results or []
        return ModelCardData(
            library_name=self.library_name,
            pipeline_tag=self.pipeline_tag,
            base_model=self.base_model,
            license=self.license,
            datasets=self.datasets or None,
            tags=["hf-ttr", "temporal-token-reuse", self.config.parent_model_type, TASK, *self.tags],
            metrics=["accuracy"] if any(result.metric_type == "accuracy" for result in results) else None,
            model_name=self.model_name,
            eval_results=results or None,
        ).to_dict()

    def eval_result_entries(self) -> list[dict[str, Any]]:
        """
        The accuracy as `.eval_results/*.yaml` holds it. Empty without the Hub id of the dataset, without an accuracy,
        and where the installed huggingface_hub does not know the format.
        """
        if self.evaluation_dataset is None or not self.figures or (accuracy := self.figures[0].accuracy) is None:
            return []
        figures = self.figures[0]
        notes = f"temporal token reuse with hf-ttr, {setting_text(figures.settings)}, {figures.clips} clips"
        if figures.dense_accuracy is not None:
            notes += f"; dense model {figures.dense_accuracy.value:.4g}"
        return accuracy_entries(self.evaluation_dataset, self.evaluation_task, accuracy.value, notes)

    # -----------------------------------------------------------------------------------------------------------------
    # Text
    # -----------------------------------------------------------------------------------------------------------------

    def card(self) -> ModelCard:
        """The card as huggingface_hub knows it."""
        return ModelCard.from_template(self, template_path=str(TEMPLATE), **self._texts())

    def text(self) -> str:
        """The card as it stands in a README.md."""
        return str(self.card()).rstrip("\n") + "\n"

    def _texts(self) -> dict[str, Any]:
        """What the template asks for, as Markdown."""
        return {
            "title": f"{markdown(self.model_name)} with temporal token reuse",
            "what": self._what(),
            "facts": self._facts(),
            **self._examples(),
            "settings": self._settings_section(),
            "fidelity": fidelity_section(
                self.figures, self.settings, (self.trained_accuracy, self.trained_clips), self.is_window_model
            ),
            "speed": speed_section(self.figures, self.speed),
            "threshold": self._threshold_text(),
            "has_figures": bool(self.figures),
            "measure": self._how_to_measure(),
            "is_window_model": self.is_window_model,
            "licence": self._licence(),
            "reproduce": self._reproduce(),
            "version": __version__,
            "base_model_text": None if self.base_model is None else _link(self.base_model),
        }

    def _what(self) -> str:
        kind = self.config.parent_name
        sees = "sees a clip at once" if self.is_window_model else "looks at a clip frame by frame"
        origin = "" if self.base_model is None else f" Base model: {_link(self.base_model)}."
        form = (
            "The checkpoint is one of transformers, without reuse, and is loaded as it is."
            if self.is_plain
            else "The checkpoint was saved with reuse: `import hf_ttr` makes it known to transformers."
        )
        return f"A {kind} that classifies videos; it {sees}.{origin} {form}"

    def _facts(self) -> str:
        config, shape = self.config, self.config.model_shape()
        facts = {
            "Model": f"{shape.layers} layers, hidden size {shape.hidden_size}",
            "Frames": f"{_size(config.frame_size)} pixels in patches of {_size(config.patch_shape)}",
        }
        if self.is_window_model:
            facts["Window"] = f"{config.window_frames} frames"
        shown = [markdown(label) or "(no name)" for label in self.labels[:_SHOWN_LABELS]]
        more = len(self.labels) - len(shown)
        labels = ", ".join(shown) + (f" and {more} more" if more else "")
        facts["Labels"] = labels or "those of the base model"
        return listed(facts)

    def _examples(self) -> dict[str, str]:
        name, kind = literal(self.model_id), MODELS[self.config.model_type].class_for(self.config.architectures or [])
        assert kind is not None
        package = "hf_ttr" if is_own(kind) else kind.__module__
        reuse_class = f"{package}.{kind.__name__}"
        window = "top_k=1" if self.is_window_model else "window=32, lookahead=7, top_k=1"
        loop = [
            f'for result in pipe.stream("video.mp4", {window}):',
            '    print(f"{result.start:.2f} to {result.end:.2f} s: {result.label}")',
        ]
        if not self.is_plain:
            imports = ["import hf_ttr", "from transformers import pipeline", ""]
            use = [*imports, f'pipe = pipeline("{TASK}", model={name})', 'print(pipe("video.mp4", top_k=3))']
            stream = [*imports, f'pipe = pipeline("{TASK}-reuse", model={name})', *loop]
            dense = [
                *imports,
                f"off = {OFF}",
                f'pipe = pipeline("{TASK}", model={name}, model_kwargs=off)',
                'print(pipe("video.mp4", top_k=3))',
            ]
        else:

            def built(task: str, settings: str = "") -> list[str]:
                return [
                    "import hf_ttr",
                    *([] if package == "hf_ttr" else [f"import {package}"]),
                    "from transformers import pipeline",
                    "",
                    f"name = {name}",
                    f"model = {reuse_class}.from_pretrained(name{settings})",
                    "processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(name)",
                    f'pipe = pipeline("{task}", model=model, video_processor=processor)',
                ]

            use = [*built(TASK), 'print(pipe("video.mp4", top_k=3))']
            stream = [*built(f"{TASK}-reuse"), *loop]
            dense = [*built(TASK, ', temporal_reuse={"mode": "off"}'), 'print(pipe("video.mp4", top_k=3))']
        lines = {"use": use, "use_stream": stream, "use_dense": dense}
        return {part: fenced("\n".join(text), "python") for part, text in lines.items()}

    def _settings_section(self) -> str:
        reuse = self.config.temporal_reuse
        facts = {}
        for name, value in self.settings.items():
            text = "none" if value is None or value == [] else code(str(value))
            if name == "threshold":
                if value is None:
                    text = "as the budget needs it"
                elif reuse.threshold is None:
                    text += ", the default"
            facts[f"`{name}`"] = text
        return listed(facts)

    def _threshold_text(self) -> str:
        threshold = self.settings["threshold"]
        if self.settings["mode"] == "off":
            where = "In this checkpoint reuse is off"
        elif threshold is None:
            where = f"Here a budget decides: {self.settings['compute_budget']:.0%} of the tokens, whatever that costs"
        else:
            where = f"Here the threshold is {threshold:g}"
        return (
            f"The threshold is where fidelity and cost are traded. {where}; the right place depends on the model and "
            "on the videos, so measure it on yours: `hf-ttr classify VIDEO --model MODEL --threshold X` compares with "
            "the dense model."
        )

    def _licence(self) -> str:
        if self.license is None:
            text = "The licence of the weights was not given to this card; that of the base model applies."
        else:
            text = f"The weights: {code(self.license)}" + ("." if self.base_model is None else ", as the base model.")
        return f"{text} hf-ttr itself: `apache-2.0`."

    def _how_to_measure(self) -> str:
        """What a card without figures says in place of them."""
        evaluate = ["hf-ttr", "evaluate", "--model", self.model_id, "--dataset", "FOLDER", "--out", "results"]
        return (
            f"Nothing was measured of this checkpoint yet: {code(command_line(evaluate))} compares it with the dense "
            "model on videos of yours, and `hf-ttr card MODEL_DIR --evaluation results/summary.json --overwrite` puts "
            "what comes of it here."
        )

    def _reproduce(self) -> str:
        commands = [figures.command for figures in self.figures]
        commands += [None if self.speed is None else self.speed.command, self.command]
        given = list(dict.fromkeys(command for command in commands if command))
        what = "The figures, and this card:" if self.figures or self.speed is not None else "This card:"
        measured = [what, fenced("\n".join(given), "bash")] if given else []
        compare = command_line(["hf-ttr", "classify", "video.mp4", "--model", self.model_id])
        if not self.figures:
            return "\n\n".join(measured)
        return "\n\n".join([*measured, "On a video of yours, against the dense model:", fenced(compare, "bash")])


def save_model_card(data: ReuseModelCardData, path: str | os.PathLike[str], overwrite: bool = False) -> list[str]:
    """
    Writes a card, and beside it the evaluation results as the Hub collects them, where there are any.

    Args:
        data: what it says.
        path: of the README.md.
        overwrite: whether files that are there may be replaced.

    Returns:
        The files that were written.

    Raises:
        ValueError: if a file is there already, or the path is a folder; one sentence.
        OSError: if a file cannot be written.
    """
    path = os.fspath(path)
    files = {path: data.text()}
    entries = data.eval_result_entries()
    if entries:
        name = f"{_slug(str(data.evaluation_dataset))}.yaml"
        entry = os.path.join(os.path.dirname(path), EVAL_RESULTS, name)
        files[entry] = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
    for file in files:
        if os.path.isdir(file):
            raise ValueError(f"'{shown(file)}' is a folder; pass the name of a file in it, such as README.md.")
        if os.path.lexists(file) and not overwrite:
            raise ValueError(
                f"'{shown(file)}' is there already; allow overwriting it (--overwrite), or pass another path (--out)."
            )
    for file, text in files.items():
        if file != path:
            os.makedirs(os.path.dirname(file), exist_ok=True)
        with replacing(file) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    return list(files)


def _read_config(model: str | os.PathLike[str]) -> tuple[Any, dict[str, Any]]:
    """The config of the model with reuse, and what its config.json says."""
    name = os.fspath(model)
    if not os.path.isdir(model):
        reason = "is a file" if os.path.exists(model) else "does not exist"
        raise ValueError(f"The model folder '{shown(name)}' {reason}; pass the folder of a checkpoint.")
    file = os.path.join(name, "config.json")
    if not os.path.isfile(file):
        raise ValueError(
            f"The folder '{shown(name)}' holds no model (no config.json); pass the folder of a checkpoint."
        )
    raw = read_json(file)
    model_type = raw.get("model_type") if isinstance(raw, dict) else None
    entry = entry_for(model_type) if isinstance(model_type, str) and model_type in classifier_types() else None
    if entry is None:
        raise ValueError(
            f"The model '{shown(name)}' is of the type {shown(repr(model_type), 60)}; pass an image or video "
            f"classifier of the kind {classifier_names()}, plain or with reuse."
        )
    architectures = raw.get("architectures")
    architectures = architectures if isinstance(architectures, list) else []
    if architectures and not any(map(is_classifier, architectures)):
        raise ValueError(
            f"The model '{shown(name)}' is no classifier but a {shown(architectures[0], 60)}; pass one that was "
            "trained for classification."
        )
    try:
        return entry.config.from_pretrained(name), raw
    # Whatever transformers makes of values of other kinds.
    except Exception as error:
        reason = shown(plain(str(error))).rstrip(".") or type(error).__name__
        if UNKNOWN in reason:
            raise ValueError(
                f"The model '{shown(name)}' cannot be used: {reason[reason.index(UNKNOWN) :]}."
            ) from error
        raise ValueError(
            f"The config.json of the model '{shown(name)}' cannot be used ({reason}); replace it by a complete copy."
        ) from error


def _trained(model: str | os.PathLike[str]) -> tuple[float | None, int | None]:
    """Accuracy and number of clips in the training.json of the models that ship; `None` for those of others."""
    file = os.path.join(model, "training.json")
    if not os.path.isfile(file):
        return None, None
    try:
        found = read_json(file)
    except ValueError:
        return None, None
    figures = found if isinstance(found, dict) else {}
    accuracy: Any = figures.get("held_out_accuracy")
    clips: Any = figures.get("held_out_clips")
    if is_number(accuracy) and is_whole(clips) and 0 <= accuracy <= 1 and clips > 0:
        return accuracy, clips
    return None, None


def _check_hub_id(what: str, name: str) -> None:
    try:
        validate_repo_id(name)
    except ValueError as error:
        raise ValueError(f"The {what} is {name!r}, but must be a name on the Hub, such as 'owner/name'.") from error


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", plain(text)).strip("-").lower() or "dataset"


def _link(name: str) -> str:
    return f"[{markdown(name)}](https://huggingface.co/{name})"


def _size(size: int | Sequence[int]) -> str:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return "x".join(map(str, sides))


def _class_names(config: Any) -> set[str]:
    """Names of the classes of a model, with reuse and without."""
    return {name for kind in MODELS[config.model_type].classes for name in (kind.__name__, parent_of(kind).__name__)}


def _as_index(key: str) -> tuple[int, str]:
    return (int(key), "") if re.fullmatch(r"[0-9]{1,18}", str(key)) else (0, str(key))


def _value(interval: Interval | None) -> float | None:
    return None if interval is None else interval.value


__all__ = ["ReuseModelCardData", "save_model_card"]
