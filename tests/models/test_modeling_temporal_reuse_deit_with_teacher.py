"""The head of distillation, which reads two tokens in front; all else is as in a DeiT without it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import DeiTForImageClassificationWithTeacher

from hf_ttr import (
    TemporalReuseDeiTForImageClassificationWithTeacher,
    TemporalReuseDeiTForVideoClassificationWithTeacher,
    with_temporal_reuse,
)
from hf_ttr.models.register import entry_for

from .cases import ModelCase, assert_near, assert_same
from .fixtures import BUDGET, NEAR, TOME, case_fixtures
from .modeling_invariants import FrameClassifierInvariants
from .test_modeling_temporal_reuse_deit import deit_case


def teacher_case(name: str, mode: str, settings: dict[str, Any], **options: Any) -> ModelCase:
    return replace(
        deit_case(name, mode, settings, **options),
        reads=2,
        classifier=TemporalReuseDeiTForVideoClassificationWithTeacher,
        frame_classifier=TemporalReuseDeiTForImageClassificationWithTeacher,
    )


case, some_case, plain_case, causal_case = case_fixtures(
    [teacher_case("threshold", "causal", NEAR), teacher_case("tome", "bidirectional", TOME)],
    [teacher_case("budget", "bidirectional", BUDGET, dtype=torch.bfloat16)],
)


class TestWithTeacher:
    """Those of the invariants that another head may break."""

    test_training = FrameClassifierInvariants.test_training_is_dense_and_has_the_parents_gradients
    test_video_classifier = FrameClassifierInvariants.test_a_frame_classifier_is_the_video_classifier
    test_mean_logits = FrameClassifierInvariants.test_logits_are_the_mean_of_the_frame_logits
    test_loss = FrameClassifierInvariants.test_loss_in_evaluation_is_that_of_the_mean_logits


@torch.no_grad()
def test_the_logits_of_both_heads_are_the_parents(plain_case: ModelCase) -> None:
    clip, parent = plain_case.clip(), plain_case.parent()
    expected = parent(clip.flatten(0, 1))
    names = ("logits", "cls_logits", "distillation_logits")
    for settings, tolerance in (
        ({"mode": "off"}, 0),
        ({"threshold": 0, "compute_budget": None}, plain_case.tolerance),
    ):
        output = plain_case.model(**settings)(clip)
        single = plain_case.model(single_frames=True, **settings)(clip[:, 0])
        for name in names:
            of_frames = output["frame_logits" if name == "logits" else name]
            assert_near(of_frames.flatten(0, 1), expected[name], tolerance)
            assert_near(single[name], of_frames[:, 0], plain_case.tolerance)


@torch.no_grad()
def test_multiply_adds_are_those_that_a_profiler_counts(case: ModelCase) -> None:
    case = replace(case, attention="eager")
    model, parent, cache = case.model(), case.parent(), None
    for piece in case.pieces(1, 2, case.frames - 3):
        with FlopCounterMode(display=False) as counted:
            output = model(piece, past_key_values=cache)
        with FlopCounterMode(display=False) as counted_dense:
            parent(piece.flatten(0, 1))
        cache = output.past_key_values
        assert int(output.reuse.multiply_adds.sum()) * 2 == counted.get_total_flops()
        assert int(output.reuse.dense_multiply_adds.sum()) * 2 == counted_dense.get_total_flops()


@torch.no_grad()
def test_a_model_saved_and_loaded_gives_the_same(some_case: ModelCase, tmp_path: Path) -> None:
    model, clip = some_case.model(), some_case.clip()
    model.save_pretrained(tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not {name: part for name, part in report.items() if part}
    assert_same(loaded(clip).frame_logits, model(clip).frame_logits)


def test_checkpoints_with_both_heads_get_them() -> None:
    entry = entry_for("deit")
    parent = ["DeiTForImageClassificationWithTeacher"]
    assert entry.class_for(parent) is TemporalReuseDeiTForVideoClassificationWithTeacher
    assert entry.class_for(["DeiTForImageClassification"]) is entry.video_classifier
    model = teacher_case("threshold", "causal", NEAR).parent()
    assert type(model) is DeiTForImageClassificationWithTeacher
    assert type(with_temporal_reuse(model)) is TemporalReuseDeiTForVideoClassificationWithTeacher
