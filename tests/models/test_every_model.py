"""Every model of the package: its plain checkpoint through conversion, Auto classes, pipeline and stream."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForVideoClassification, pipeline

import hf_ttr
from hf_ttr import hub
from hf_ttr.models.register import MODELS, parent_of


SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_supported_table.py"
CLASSIFIERS = [
    kind
    for entry in MODELS.values()
    if entry.config.__module__.startswith("hf_ttr.")
    for kind in entry.classes
    if getattr(kind, "takes_clips", False) and kind is not entry.zero_shot
]


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_supported_table", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_many() -> None:
    assert len(CLASSIFIERS) >= 15


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=lambda kind: kind.__name__)
def test_a_plain_checkpoint_goes_everywhere(kind: Any, script: Any, tmp_path: Path) -> None:
    parent: Any = parent_of(kind)
    torch.manual_seed(0)
    dense = parent(script.tiny_config(parent.config_class)).eval()
    source, target = tmp_path / "plain", tmp_path / "reuse"
    dense.save_pretrained(source)
    hf_ttr.TemporalReuseVideoProcessor(size={"height": script.SIZE, "width": script.SIZE}).save_pretrained(source)

    converted = hub.convert(source, target, {"threshold": 0.3})
    assert converted.architecture == kind.__name__
    model = AutoModelForVideoClassification.from_pretrained(target)
    if kind is MODELS[kind.config_class.model_type].video_classifier:
        assert type(model) is kind
    assert type(hf_ttr.with_temporal_reuse(dense)) is kind

    # The stock pipeline, by the name of the plain checkpoint.
    video = np.stack([np.full((script.SIZE, script.SIZE, 3), 9 * frame, np.uint8) for frame in range(script.FRAMES)])
    pipe = pipeline("video-classification", model=str(source))
    assert type(pipe.model) is kind
    scores = {one["label"]: one["score"] for one in pipe(video, num_frames=script.FRAMES)}
    off = pipeline("video-classification", model=str(source), model_kwargs={"temporal_reuse": {"mode": "off"}})
    expected = {one["label"]: one["score"] for one in off(video, num_frames=script.FRAMES)}
    assert scores.keys() == expected.keys() and sum(scores.values()) == pytest.approx(1, abs=1e-4)

    results = list(pipeline("video-classification-reuse", model=str(source)).stream(np.concatenate([video, video])))
    assert results and results[-1].label in scores
