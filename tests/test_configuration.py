from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from hf_ttr import TemporalReuseConfig
from hf_ttr.configuration import (
    DEFAULT_THRESHOLD,
    DEFAULT_WINDOW_THRESHOLD,
    MODES,
    REPRESENTATIVES,
    as_temporal_reuse_config,
)


SETTINGS = {
    "mode": "causal",
    "threshold": 0.2,
    "compute_budget": 0.5,
    "frame_skipping": False,
    "dense_outputs": True,
    "max_age": None,
    "saliency_weight": 0,
    "context_weight": 1.5,
    "context_size": 3,
    "scene_cut": 1.0,
    "representative": "middle",
    "drift_weight": 0.01,
    "window_weight": 2.0,
    "sliding": True,
    "reduction": [{"method": "tome", "r": 4, "schedule": "constant", "proportional_attention": True}],
}

NAN, INFINITY = float("nan"), float("inf")
BAD_VALUES = [
    *[("mode", value) for value in ("", "Causal", "none", None, 0, True)],
    *[("threshold", value) for value in (-1, -1e-9, NAN, INFINITY, "0.1", True, [0.1])],
    *[("compute_budget", value) for value in (0, -0.5, 1.001, 2, NAN, INFINITY, "half", True)],
    *[("max_age", value) for value in (0, -3, 2.0, 1.5, "24", True)],
    *[("saliency_weight", value) for value in (-0.1, NAN, INFINITY, None, "0.5", False)],
    *[("context_weight", value) for value in (-3, NAN, INFINITY, None, "3", True)],
    *[(name, value) for name in ("frame_skipping", "dense_outputs", "sliding") for value in (None, 1, "yes")],
    *[("window_weight", value) for value in (-1, NAN, INFINITY, None, "1", True)],
    *[("context_size", value) for value in (0, -1, 2, 4, 3.0, None, True)],
    *[("scene_cut", value) for value in (0, -0.1, 1.01, NAN, None, "0.6", True)],
    *[("representative", value) for value in ("", "Middle", "end", None, 0.5, True)],
    *[("drift_weight", value) for value in (-0.01, NAN, INFINITY, None, "0.03", True)],
]
GOOD_VALUES = [
    *[("mode", value) for value in MODES],
    *[("threshold", value) for value in (None, 0, 0.0, 1, 7.5)],
    *[("compute_budget", value) for value in (None, 1e-6, 0.25, 1, 1.0)],
    *[("max_age", value) for value in (None, 1, 10**6)],
    *[("saliency_weight", value) for value in (0, 0.5, 2)],
    *[("context_weight", value) for value in (0, 3.0)],
    *[("context_size", value) for value in (1, 3, 99)],
    *[("scene_cut", value) for value in (1e-3, 0.6, 1)],
    *[("representative", value) for value in REPRESENTATIVES],
    *[("drift_weight", value) for value in (0, 0.03, 5)],
]


def is_sentence(text: str) -> bool:
    return "\n" not in text and text.endswith(".") and not text.endswith("..")


@pytest.mark.parametrize(("name", "value"), BAD_VALUES, ids=lambda value: repr(value))
def test_a_bad_value_is_refused_in_one_sentence_that_names_it(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as error:
        TemporalReuseConfig(**{name: value})
    message = str(error.value)
    assert message.startswith(f"temporal_reuse.{name} is {value!r}, but must be ")
    assert is_sentence(message)


@pytest.mark.parametrize(("name", "value"), GOOD_VALUES, ids=lambda value: repr(value))
def test_a_good_value_is_kept(name: str, value: Any) -> None:
    assert getattr(TemporalReuseConfig(**{name: value}), name) == value


def test_a_value_set_later_is_refused_when_validated() -> None:
    config = TemporalReuseConfig()
    config.threshold = -2
    with pytest.raises(
        ValueError, match=r"^temporal_reuse\.threshold is -2, but must be a number of at least 0, or None\.$"
    ):
        config.validate_settings()


def test_an_unknown_setting_is_refused_in_one_sentence_that_names_it() -> None:
    with pytest.raises(
        ValueError, match="temporal_reuse has no setting 'treshold'; the settings are mode, threshold,"
    ) as error:
        TemporalReuseConfig(treshold=0.1)
    assert is_sentence(str(error.value))


@pytest.mark.parametrize(
    ("threshold", "budget", "effective", "everything"),
    [
        (None, None, DEFAULT_THRESHOLD, False),
        (None, 0.5, 0.0, False),
        (None, 1, 0.0, True),
        (0, None, 0.0, True),
        (0, 0.5, 0.0, False),
        (0, 1, 0.0, True),
        (0.1, None, 0.1, False),
        (0.1, 0.5, 0.1, False),
        (0.1, 1, 0.1, False),
    ],
)
def test_threshold_in_force(threshold: float | None, budget: float | None, effective: float, everything: bool) -> None:
    config = TemporalReuseConfig(threshold=threshold, compute_budget=budget)
    assert config.effective_threshold() == effective
    assert config.computes_everything is everything


@pytest.mark.parametrize(
    ("threshold", "budget", "effective"),
    [(None, None, DEFAULT_WINDOW_THRESHOLD), (None, 0.5, 0.0), (0.1, None, 0.1), (0, None, 0.0)],
)
def test_threshold_in_force_for_windows(threshold: float | None, budget: float | None, effective: float) -> None:
    config = TemporalReuseConfig(threshold=threshold, compute_budget=budget)
    assert config.effective_threshold(DEFAULT_WINDOW_THRESHOLD) == effective


def test_dict_holds_the_settings_and_nothing_for_language_models() -> None:
    written = TemporalReuseConfig(**SETTINGS).to_dict()
    assert written.pop("model_type") == "temporal_reuse"
    assert written.pop("transformers_version")
    assert written == SETTINGS
    assert TemporalReuseConfig(**SETTINGS).to_diff_dict() == TemporalReuseConfig(**SETTINGS).to_dict()


def test_save_and_load(tmp_path: Path) -> None:
    config = TemporalReuseConfig(**SETTINGS)
    config.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert {name: written[name] for name in SETTINGS} == SETTINGS
    loaded = TemporalReuseConfig.from_pretrained(tmp_path)
    assert loaded.to_dict() == config.to_dict()
    assert TemporalReuseConfig.from_pretrained(tmp_path, mode="off").mode == "off"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_copies_are_equal(copied: Any) -> None:
    config = TemporalReuseConfig(**SETTINGS)
    assert copied(config).to_dict() == config.to_dict()
    assert copied(config) == config


def test_what_counts_as_settings() -> None:
    config = TemporalReuseConfig(**SETTINGS)
    assert as_temporal_reuse_config(config) is config
    assert as_temporal_reuse_config(SETTINGS).to_dict() == config.to_dict()
    assert as_temporal_reuse_config(config.to_dict()).to_dict() == config.to_dict()
    assert as_temporal_reuse_config(None).to_dict() == TemporalReuseConfig().to_dict()


@pytest.mark.parametrize("value", [0.5, "causal", ["causal"], True])
def test_what_does_not_count_as_settings(value: Any) -> None:
    with pytest.raises(ValueError, match="^temporal_reuse is .*, but must be a TemporalReuseConfig, a dict") as error:
        as_temporal_reuse_config(value)
    assert repr(value) in str(error.value)
    assert is_sentence(str(error.value))
