"""What methods of a user's own may get wrong: one sentence each, in models and at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import hf_ttr
from hf_ttr.cards.model_card import ReuseModelCardData
from hf_ttr.hub.checkpoints import CheckpointError, load_classifier
from hf_ttr.reduction import FrameMerge, FrameReduction, LayerReduction, RowChange, WindowReduction, as_reduction
from hf_ttr.reduction.base import _METHODS, register_reduction

from ..tiny import make_clip, tiny_video_classifier, tiny_videomae


Lie = Callable[..., Any]


@pytest.fixture(autouse=True)
def _register() -> Iterator[None]:
    """Leaves the register of methods as it was."""
    before = dict(_METHODS)
    yield
    _METHODS.clear()
    _METHODS.update(before)


def rows(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.long)


def layer_method(change: Lie, announced: Any = 2, prunes_: bool = True) -> LayerReduction:
    """Removes rows of the first layer, as a lie says."""

    @dataclass(frozen=True)
    class Liar(LayerReduction):
        method: ClassVar[str] = "liar"
        prunes: ClassVar[bool] = prunes_

        def check(self, model: Any) -> None:
            pass

        def removed(self, layer: int, count: int, initial: int, model: Any) -> Any:
            return announced if layer == 0 else 0

        def change(self, layer: int, sets: Any, removed: list[int], observed: Any, protected: int) -> Any:
            return change(sets, len(observed.states))

    return Liar()


def out(*numbers: int) -> Lie:
    return lambda sets, count: RowChange(rows(), rows(), left_out=rows(*numbers))


def merged(sources: Any, targets: Any, **more: Any) -> Lie:
    return lambda sets, count: RowChange(sources, targets, **more)


# One frame of 37 rows, whose first is protected.
LAYER_LIES: dict[str, tuple[LayerReduction, str]] = {
    "fewer": (layer_method(out(5)), "removes 1 rows of set 0, but removed() announced 2; let both say the same"),
    "more": (layer_method(out(5, 6, 7)), "removes 3 rows of set 0, but removed() announced 2"),
    "none": (layer_method(lambda sets, count: None), "returns NoneType, but must return a RowChange"),
    "dtype": (
        layer_method(lambda sets, count: RowChange(rows(), rows(), left_out=rows(5, 6).int())),
        "returns left_out that are torch.int32 of shape (2,) on cpu, but must be torch.int64 of one dimension on cpu",
    ),
    "truth-values": (
        layer_method(lambda sets, count: RowChange(rows(), rows(), left_out=torch.zeros(count, dtype=torch.bool))),
        "returns left_out that are torch.bool of shape (37,) on cpu",
    ),
    "device": (
        layer_method(lambda sets, count: RowChange(rows(), rows(), left_out=rows(5, 6).to("meta"))),
        "returns left_out that are torch.int64 of shape (2,) on meta",
    ),
    "shape": (layer_method(merged(rows(5, 6)[None], rows(7, 7)), prunes_=False), "sources that are torch.int64 of sh"),
    "list": (layer_method(merged([5, 6], rows(7, 7)), prunes_=False), "sources that are list, but must be"),
    "lengths": (layer_method(merged(rows(5, 6), rows(7)), prunes_=False), "returns 2 sources and 1 targets"),
    "range": (layer_method(out(5, 37)), "go from 5 to 37, but there are the rows 0 to 36"),
    "negative": (layer_method(out(-1, 5)), "go from -1 to 5, but there are the rows 0 to 36"),
    "twice": (layer_method(out(5, 5)), "removes a row twice; each may come once"),
    "target-gone": (layer_method(merged(rows(5, 6), rows(6, 7)), prunes_=False), "merges into a row that it removes"),
    "protected": (layer_method(out(0, 5)), "touches a protected row; the first 1 of each set have to stay as they"),
    "into-protected": (layer_method(merged(rows(5, 6), rows(0, 7)), prunes_=False), "touches a protected row"),
    "kind": (layer_method(out(5, 6), prunes_=False), "leaves rows out, but the class says prunes = False"),
    "other-kind": (layer_method(merged(rows(5, 6), rows(7, 7))), "merges rows, but the class says prunes = True"),
    "weights": (
        layer_method(merged(rows(5, 6), rows(7, 7), weights=torch.ones(3)), prunes_=False),
        "returns weights that are no floating numbers of shape (37,) on cpu",
    ),
    "announced-all": (
        layer_method(out(), 37),
        "removed() is 37 for layer 0 and a set of 37 rows, but must be",
    ),
    "announced-negative": (layer_method(out(), -1), "removed() is -1 for layer 0"),
    "announced-fraction": (layer_method(out(), 1.5), "removed() is 1.5 for layer 0"),
}


@pytest.mark.parametrize(("method", "words"), LAYER_LIES.values(), ids=LAYER_LIES)
@torch.no_grad()
def test_what_a_method_did_not_announce_is_a_sentence(method: LayerReduction, words: str) -> None:
    model = tiny_video_classifier(mode="off", reduction=[method])
    with pytest.raises(ValueError, match="^reduction 'liar': ") as caught:
        model(make_clip(1, 1))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@torch.no_grad()
def test_rows_of_another_set_are_not_merged_into() -> None:
    method = layer_method(merged(rows(5, 6, 42, 43), rows(7, 42 + 37, 45, 46)), prunes_=False)
    with pytest.raises(ValueError, match="merges a row into one of another set"):
        tiny_video_classifier(mode="off", reduction=[method])(make_clip(1, 3))


@torch.no_grad()
def test_a_method_that_keeps_its_word_is_carried_out() -> None:
    clip = make_clip(1, 1)
    pruned = tiny_video_classifier(mode="causal", threshold=0, reduction=[layer_method(out(5, 6))])(clip)
    assert pruned.reuse.pruned_by_layer[0].tolist() == [0, 2, 2]
    method = layer_method(merged(rows(5, 6), rows(7, 7), weights=torch.ones(37)), prunes_=False)
    assert tiny_video_classifier(mode="off", reduction=[method])(clip).logits.isfinite().all()


def frame_method(targets: Lie, costs: Any = None) -> FrameReduction:
    @dataclass(frozen=True)
    class Liar(FrameReduction):
        method: ClassVar[str] = "liar"

        def check(self, model: Any) -> None:
            pass

        def merge(self, rows: torch.Tensor, frames: Any, streams: int, protected: int) -> Any:
            found = targets(torch.arange(len(rows)))
            return found if found is None else FrameMerge(found, [0] * streams if costs is None else costs)

    return Liar()


def moved(*pairs: tuple[int, int]) -> Lie:
    def change(targets: torch.Tensor) -> torch.Tensor:
        for row, target in pairs:
            targets[row] = target
        return targets

    return change


# Two streams of two frames of 37 rows.
FRAME_LIES: dict[str, tuple[FrameReduction, str]] = {
    "none": (frame_method(lambda targets: None), "merge() returns NoneType, but must return a FrameMerge"),
    "count": (frame_method(lambda targets: targets[:-1]), "returns 147 targets for 148 rows"),
    "dtype": (frame_method(lambda targets: targets.int()), "returns targets that are torch.int32"),
    "range": (frame_method(moved((5, 148))), "go from 0 to 148, but there are the rows 0 to 147"),
    "chain": (frame_method(moved((5, 6), (6, 7))), "merges into a row that is merged itself"),
    "stream": (frame_method(moved((5, 80))), "merges a row into one of another stream"),
    "protected": (frame_method(moved((37, 5))), "touches a protected row; the first 1 of each frame have to stay"),
    "costs": (
        frame_method(moved(), [0]),
        "returns the multiply_adds [0], but must return a whole number for each of 2",
    ),
}


@pytest.mark.parametrize(("method", "words"), FRAME_LIES.values(), ids=FRAME_LIES)
@torch.no_grad()
def test_what_cannot_be_merged_across_frames_is_a_sentence(method: FrameReduction, words: str) -> None:
    with pytest.raises(ValueError, match="^reduction 'liar': merge") as caught:
        tiny_video_classifier(mode="off", reduction=[method])(make_clip(2, 2))
    assert words in str(caught.value)


def window_method(sources: Lie) -> WindowReduction:
    @dataclass(frozen=True)
    class Liar(WindowReduction):
        method: ClassVar[str] = "liar"

        def check(self, model: Any) -> None:
            pass

        def sources(self, pixels: torch.Tensor, patch_size: tuple[int, int, int]) -> Any:
            return sources(torch.arange(4)[None, :, None].repeat(len(pixels), 1, 36))

    return Liar()


WINDOW_LIES: dict[str, tuple[WindowReduction, str]] = {
    "none": (window_method(lambda found: None), "returns NoneType, but must return torch.int64 of shape (1, 4, 36)"),
    "shape": (window_method(lambda found: found[:, :2]), "returns torch.int64 of shape (1, 2, 36) on cpu, but"),
    "dtype": (window_method(lambda found: found.float()), "returns torch.float32 of shape (1, 4, 36) on cpu, but"),
    "range": (window_method(lambda found: found + 1), "returns times that are not from 0 to 3"),
    "chain": (window_method(lambda found: (found - 1).clamp(min=0)), "returns a token that does not stand for itself"),
}


@pytest.mark.parametrize(("method", "words"), WINDOW_LIES.values(), ids=WINDOW_LIES)
@torch.no_grad()
def test_what_cannot_stand_for_slots_is_a_sentence(method: WindowReduction, words: str) -> None:
    model = hf_ttr.with_temporal_reuse(tiny_videomae(), {"mode": "off", "reduction": [method]})
    with pytest.raises(ValueError, match="^reduction 'liar': sources") as caught:
        model(make_clip(1, 8))
    assert words in str(caught.value)


def cell(default: int = 1) -> type[LayerReduction]:
    """A cell of a notebook that defines a method and registers it."""

    @register_reduction
    @dataclass(frozen=True)
    class OfANotebook(LayerReduction):
        method: ClassVar[str] = "of_a_notebook"
        number: int = default

        def check(self, model: Any) -> None:
            pass

        def removed(self, layer: int, count: int, initial: int, model: Any) -> int:
            return 0

        def change(self, *arguments: Any) -> Any:
            raise NotImplementedError

    return OfANotebook


def test_a_class_may_be_defined_again_and_another_may_not_have_its_name() -> None:
    cell()
    second = cell(default=2)
    assert type(as_reduction({"method": "of_a_notebook"})) is second
    assert as_reduction({"method": "of_a_notebook"}).to_dict()["number"] == 2
    other = type("Other", (second,), {"__module__": "elsewhere", "__qualname__": "Other"})
    with pytest.raises(ValueError, match="named 'of_a_notebook' already, .*OfANotebook; give elsewhere.Other another"):
        register_reduction(other)
    taken = type("Other", (second,), {"method": "tome"})
    with pytest.raises(ValueError, match="named 'tome' already, hf_ttr.reduction.tome.ToMe; give"):
        register_reduction(taken)


def test_a_method_that_was_not_imported_is_named_with_what_to_do(tmp_path: Path) -> None:
    model = tiny_video_classifier(reduction=[{"method": "tome", "r": 1}])
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["temporal_reuse"]["reduction"] = [{"method": "mine"}]
    (tmp_path / "config.json").write_text(json.dumps(config))
    sentence = (
        "there is no reduction 'mine'; import the module that defines it \\(in Python import, on the command line "
        "--import MODULE\\), or take one of 'pruning'"
    )
    with pytest.raises(CheckpointError, match=f"^The model '.*' cannot be loaded: {sentence}") as caught:
        load_classifier(str(tmp_path), type(model), {})
    assert "complete copy" not in str(caught.value)
    with pytest.raises(ValueError, match=f"^The model '.*' cannot be used: {sentence}") as refused:
        ReuseModelCardData.from_directory(tmp_path)
    assert "complete copy" not in str(refused.value)
