"""The model of a service: with the labels that settings choose, or its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_ttr
from hf_ttr.cameras.loading import load_engine
from hf_ttr.cameras.service import CameraService
from hf_ttr.cameras.settings import ServiceSettings
from hf_ttr.cameras.store import Store

from ..tiny_texts import save_text_model, text_model
from . import colours


LABELS = ["a red door", "a green door", "a blue door"]
TEMPLATE: dict[str, Any] = {"hypothesis_template": "seen: {}"}


def settings_of(model: str, folder: Path, **others: Any) -> ServiceSettings:
    path = colours.video(folder / "door.mkv", colours.frames(("red", 8)))
    door = {"source": path, "states": {"agree": 2, "min_score": 0.0}, **others.pop("door", {})}
    return ServiceSettings(model=model, data=str(folder / "data"), cameras={"door": door}, **others)


@pytest.mark.parametrize("kind", ["clip", "siglip2"])
def test_labels_are_read_by_the_text_tower_and_exclude_each_other(kind: str, tmp_path: Path) -> None:
    model = save_text_model(kind, tmp_path / "model")
    engine = load_engine(settings_of(model, tmp_path, labels=LABELS))
    assert list(engine.model.config.id2label.values()) == LABELS
    assert engine.score_kind == "softmax" and engine.options.top_k == 3
    assert engine.settings.mode == "causal"
    expected = hf_ttr.zero_shot(model, LABELS)
    assert engine.model.config.id2label == expected.config.id2label
    for name, value in expected.state_dict().items():
        assert torch.equal(engine.model.state_dict()[name], value), name


def test_another_template_makes_other_states_of_the_labels(tmp_path: Path) -> None:
    model = save_text_model("siglip", tmp_path / "model")
    engine = load_engine(settings_of(model, tmp_path, labels=LABELS, template="seen: {}"))
    weights = engine.model.state_dict()
    same, other = (hf_ttr.zero_shot(model, LABELS, **options).state_dict() for options in (TEMPLATE, {}))
    differing = {name for name, value in other.items() if not torch.equal(weights[name], value)}
    assert all(torch.equal(weights[name], value) for name, value in same.items()) and differing


def test_a_camera_chooses_among_its_own_labels(tmp_path: Path) -> None:
    model = save_text_model("clip", tmp_path / "model")
    states = {}
    for meant in (LABELS[:2], LABELS[1:]):
        settings = settings_of(model, tmp_path, labels=LABELS, door={"labels": meant})
        service = CameraService(settings)
        service.run()
        states[tuple(meant)] = service.states["door"]
        with Store(tmp_path / "data") as store:
            (_, state), *_ = store.states().items()
            assert state["last"]["score"] > 0.49
    assert all(state in meant for meant, state in states.items())


def test_without_labels_a_model_has_its_own(tmp_path: Path) -> None:
    engine = load_engine(settings_of(colours.save_model(tmp_path / "model"), tmp_path, dtype="bfloat16"))
    assert list(engine.model.config.id2label.values()) == list(colours.COLOURS)
    assert engine.options.top_k == 1 and str(engine.model.dtype) == "torch.bfloat16"


@pytest.mark.parametrize(
    ("saves", "labels", "words"),
    [
        (colours.save_model, LABELS, "no text tower that could read others"),
        (lambda folder: save_text_model("clip", folder), None, "reads its labels, and none were chosen"),
    ],
)
def test_labels_and_model_that_do_not_fit(saves: Any, labels: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        load_engine(settings_of(saves(tmp_path / "model"), tmp_path, labels=labels))


def test_what_is_wrong_is_said_of_the_setting_and_not_of_an_argument(tmp_path: Path) -> None:
    model = colours.save_model(tmp_path / "model")
    with pytest.raises(ValueError, match="; leave labels out, or pass a CLIP"):
        load_engine(settings_of(model, tmp_path, labels=LABELS))
    with pytest.raises(ValueError, match="The device 'abacus' cannot be used here"):
        load_engine(settings_of(model, tmp_path, device="abacus"))


def test_weights_that_read_labels_are_whole_and_no_pickle(tmp_path: Path) -> None:
    model = save_text_model("clip", tmp_path / "model")
    path = os.path.join(model, "model.safetensors")
    whole = load_file(path)
    image_tower = {name: weight for name, weight in whole.items() if "text_model" not in name}
    save_file(image_tower, path, metadata={"format": "pt"})
    settings = settings_of(model, tmp_path, labels=LABELS)
    with pytest.raises(ValueError, match="has no weights for text_model.*; pass one with both of its towers"):
        load_engine(settings)
    with pytest.raises(ValueError, match="has no weights for text_model.*; pass one with both of its towers"):
        hf_ttr.zero_shot(model, LABELS)
    os.remove(path)
    torch.save(text_model("clip").state_dict(), os.path.join(model, "pytorch_model.bin"))
    with pytest.raises(ValueError, match="as a pickle may run code"):
        load_engine(settings)
