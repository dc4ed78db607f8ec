"""
What has to hold for every model with reuse.

A model's test file lists its cases in the fixtures `case`, `causal_case` and `plain_case` (those without reduction),
and subclasses the mixins.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
    DynamicCache,
)
from transformers.models.vit.modeling_vit import eager_attention_forward
from transformers.utils import logging

from hf_ttr import TemporalReuseCache, TemporalReuseConfig
from hf_ttr.models import frame_model, window_model
from hf_ttr.planning import planner

from .cases import ModelCase, WindowCase, assert_near, assert_same, assert_same_cache, run_pieces


BASE = pytest.mark.parametrize("base", [False, True], ids=["classifier", "base"])


class ReuseInvariants:
    """Whatever the architecture."""

    attentions: tuple[str, ...] = ("eager", "sdpa", "flex_attention", "registered")

    @BASE
    @torch.no_grad()
    def test_mode_off_is_the_parent_bit_for_bit(self, plain_case: ModelCase, base: bool) -> None:
        model, parent = plain_case.model(base, mode="off"), plain_case.parent(base)
        clip = plain_case.clip()
        options = {"output_hidden_states": True, "output_attentions": True}
        output, expected = model(clip, **options), parent(plain_case.parent_input(clip), **options)
        for name, part in expected.items():
            mine = plain_case.states(output) if name == "logits" else output[name]
            assert_same(plain_case.as_parent(mine), part)
        assert output.reuse is None
        assert output.past_key_values is None

    @BASE
    @pytest.mark.parametrize("mode", ["causal", "bidirectional"])
    @torch.no_grad()
    def test_threshold_0_is_the_parent(self, plain_case: ModelCase, base: bool, mode: str) -> None:
        model, parent = plain_case.model(base, mode=mode, threshold=0, compute_budget=None), plain_case.parent(base)
        clip = plain_case.clip()
        output, expected = model(clip), parent(plain_case.parent_input(clip))
        expected = expected.last_hidden_state if base or "logits" not in expected else expected.logits
        assert_near(plain_case.as_parent(plain_case.states(output)), expected, plain_case.tolerance)
        assert (output.reuse.computed_share == 1).all()

    @BASE
    @torch.no_grad()
    def test_something_is_reused_and_something_is_not(self, case: ModelCase, base: bool) -> None:
        output = case.model(base)(case.clip(), output_reuse_plan=True)
        plan = output.reuse.plan
        always = case.always_computed(plan)
        assert plan.shape[:2] == (case.batch, case.times)
        assert plan[always].all()
        assert (plan.sum((1, 2)) + case.in_front == output.reuse.computed_tokens).all()
        assert (output.reuse.total_tokens == plan[0].numel() + case.in_front).all()
        torch.testing.assert_close(
            output.reuse.computed_share, output.reuse.computed_tokens / output.reuse.total_tokens
        )
        assert 0 < plan[~always].float().mean() < 1
        assert (output.reuse.multiply_adds < output.reuse.dense_multiply_adds).all()

    @BASE
    @torch.no_grad()
    def test_streams_in_a_batch_are_the_same_as_alone(self, case: ModelCase, base: bool) -> None:
        model, pieces = case.model(base), case.pieces(2, case.frames - 2)
        together, _ = run_pieces(model, pieces)
        for stream in range(case.batch):
            alone, _ = run_pieces(model, [piece[stream : stream + 1] for piece in pieces])
            for mine, theirs in zip(alone, together):
                _assert_same_stream(case, mine, 0, theirs, stream)

    @BASE
    @pytest.mark.parametrize("streams", [[0], [0, 1]], ids=lambda streams: f"reset-{streams}")
    @torch.no_grad()
    def test_reset_streams_start_anew_and_the_others_go_on(
        self, case: ModelCase, base: bool, streams: list[int]
    ) -> None:
        model = case.model(base)
        start, *rest = case.pieces(2, 1, 2, case.frames - 5)
        cache = model(start).past_key_values
        cache.reset(streams)
        together, _ = run_pieces(model, rest, cache)
        for stream in range(case.batch):
            own = slice(stream, stream + 1)
            cache = None if stream in streams else model(start[own]).past_key_values
            alone, _ = run_pieces(model, [piece[own] for piece in rest], cache)
            for mine, theirs in zip(alone, together):
                _assert_same_stream(case, mine, 0, theirs, stream)

    @torch.no_grad()
    def test_streams_of_a_reordered_cache_go_on(self, case: ModelCase) -> None:
        model = case.model()
        first, second = case.pieces(3, case.frames - 3)
        order = torch.arange(case.batch).flip(0)
        cache = model(first).past_key_values
        other = copy.deepcopy(cache)
        other.reorder_cache(order)
        expected = model(second, past_key_values=cache, output_reuse_plan=True)
        output = model(second[order], past_key_values=other, output_reuse_plan=True)
        for stream in range(case.batch):
            _assert_same_stream(case, output, stream, expected, int(order[stream]))

    @BASE
    @torch.no_grad()
    def test_hidden_states_and_attentions_are_those_of_the_parent(self, plain_case: ModelCase, base: bool) -> None:
        model, parent = plain_case.model(base), plain_case.parent(base)
        clip = plain_case.clip()
        for options in ({"output_hidden_states": True}, {"output_hidden_states": True, "output_attentions": True}):
            output, expected = model(clip, **options), parent(plain_case.parent_input(clip), **options)
            assert (output.reuse.computed_share == 1).all()
            for name in ("hidden_states", "attentions"):
                parts = plain_case.as_parent(output.get(name))
                assert (parts is None) == (expected.get(name) is None)
                for mine, theirs in zip(parts or (), expected.get(name) or (), strict=True):
                    if theirs is not None:
                        assert_near(mine, theirs, plain_case.tolerance)

    @BASE
    @torch.no_grad()
    def test_reuse_goes_on_after_hidden_states_were_asked_for(self, case: ModelCase, base: bool) -> None:
        model = case.model(base)
        start, rest = case.pieces(2, case.frames - 2)
        first = model(start, output_hidden_states=True)
        second = model(rest, past_key_values=first.past_key_values)
        assert (second.reuse.computed_share < 1).all()

    @BASE
    @torch.no_grad()
    def test_return_dict_false_gives_the_same_as_a_tuple(self, case: ModelCase, base: bool) -> None:
        model, clip = case.model(base), case.clip()
        parts, output = model(clip, return_dict=False), model(clip)
        assert type(parts) is tuple
        tensors = [part for part in parts if isinstance(part, torch.Tensor)]
        assert_same(tensors, [part for part in output.to_tuple() if isinstance(part, torch.Tensor)])
        assert len(parts) == len(output.to_tuple())

    @torch.no_grad()
    def test_use_cache_false_returns_no_cache(self, case: ModelCase) -> None:
        model, clip = case.model(), case.clip()
        output = model(clip, use_cache=False)
        assert output.past_key_values is None
        assert_same(case.states(output), case.states(model(clip)))

    @BASE
    def test_gradients_flow_through_reused_tokens(self, case: ModelCase, base: bool) -> None:
        model, parent = case.model(base), case.parent(base)
        first, second = case.pieces(3, case.frames - 3)
        cache = model(first).past_key_values
        output = model(second.requires_grad_(), past_key_values=cache)
        case.states(output).float().square().sum().backward()
        expected = parent(case.parent_input(case.clip()))
        (expected.last_hidden_state if base or "logits" not in expected else expected.logits).float().sum().backward()
        reached = {name for name, parameter in parent.named_parameters() if parameter.grad is not None}
        assert reached
        for name, parameter in model.named_parameters():
            # What is added to all keys alike changes nothing.
            if name in reached and "k_proj.bias" not in name:
                assert parameter.grad.isfinite().all()
                assert parameter.grad.any(), name

    @pytest.mark.parametrize("mode", ["training", "mode 'off'"])
    def test_a_cache_is_refused_where_nothing_is_reused(self, some_case: ModelCase, mode: str) -> None:
        model, clip = some_case.model(), some_case.clip()
        cache = model(clip).past_key_values
        if mode == "training":
            model.train()
        else:
            model.config.temporal_reuse.mode = "off"
        with pytest.raises(ValueError, match=f"^past_key_values cannot be used with {mode}; leave it out.$"):
            model(clip, past_key_values=cache)

    @BASE
    @torch.no_grad()
    def test_earlier_outputs_are_not_overwritten(self, case: ModelCase, base: bool) -> None:
        model = case.model(base)
        outputs, copies, cache = [], [], None
        for piece in case.pieces(*[1] * case.frames):
            output = model(piece, past_key_values=cache)
            cache = output.past_key_values
            outputs.append(case.states(output))
            copies.append(case.states(output).clone())
        assert_same(outputs, copies)

    @BASE
    @pytest.mark.parametrize(
        "contexts",
        [(torch.inference_mode, torch.no_grad), (torch.inference_mode, nullcontext), (nullcontext, torch.no_grad)],
        ids=["inference-then-no-grad", "inference-then-grad", "grad-then-no-grad"],
    )
    def test_a_cache_goes_on_in_another_grad_mode(
        self, some_case: ModelCase, base: bool, contexts: tuple[Callable, Callable]
    ) -> None:
        model, pieces = some_case.model(base), some_case.pieces(*[1] * some_case.frames)
        with torch.no_grad():
            expected, _ = run_pieces(model, pieces)
        with contexts[0]():
            first, cache = run_pieces(model, pieces[:2])
        with contexts[1]():
            second, _ = run_pieces(model, pieces[2:], cache)
        for mine, theirs in zip(first + second, expected, strict=True):
            assert_near(some_case.states(mine), some_case.states(theirs), some_case.tolerance)

    @BASE
    @torch.no_grad()
    def test_multiply_adds_are_those_that_a_profiler_counts(self, case: ModelCase, base: bool) -> None:
        model, parent = case.model(base), case.parent(base)
        # The flop counter of torch sees plain matrix products, but not every kernel of the others.
        model.set_attn_implementation("eager")
        parent.set_attn_implementation("eager")
        cache = None
        for piece in case.pieces(1, 2, case.frames - 3):
            with FlopCounterMode(display=False) as counted:
                output = model(piece, past_key_values=cache)
            with FlopCounterMode(display=False) as counted_dense:
                parent(case.parent_input(piece))
            cache = output.past_key_values
            assert int(output.reuse.multiply_adds.sum()) * 2 == counted.get_total_flops()
            assert int(output.reuse.dense_multiply_adds.sum()) * 2 == counted_dense.get_total_flops()

    @pytest.mark.parametrize(
        "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
    )
    @torch.no_grad()
    def test_a_copied_model_gives_the_same(self, some_case: ModelCase, copied: Callable[[Any], Any]) -> None:
        model, clip = some_case.model(), some_case.clip()
        expected = model(clip)
        output = copied(model)(clip)
        assert_same(some_case.states(output), some_case.states(expected))
        assert_same(output.reuse.to_tuple(), expected.reuse.to_tuple())

    @pytest.mark.parametrize(
        "copied", [copy.deepcopy, lambda cache: pickle.loads(pickle.dumps(cache))], ids=["deepcopy", "pickle"]
    )
    @BASE
    @torch.no_grad()
    def test_a_copied_cache_goes_on(self, some_case: ModelCase, base: bool, copied: Callable[[Any], Any]) -> None:
        model = some_case.model(base)
        first, second = some_case.pieces(3, some_case.frames - 3)
        cache = model(first).past_key_values
        other = copied(cache)
        expected = model(second, past_key_values=cache)
        output = model(second, past_key_values=other)
        assert_same(some_case.states(output), some_case.states(expected))
        assert_same_cache(other, cache, tolerance=0)

    @torch.no_grad()
    def test_an_offloaded_cache_goes_on(self, case: ModelCase) -> None:
        model = case.model()
        first, second = case.pieces(3, case.frames - 3)
        cache = model(first).past_key_values
        expected = model(second, past_key_values=copy.deepcopy(cache))
        cache.offload()
        assert_same(case.states(model(second, past_key_values=cache)), case.states(expected))

    @BASE
    @torch.no_grad()
    def test_a_model_saved_and_loaded_gives_the_same(self, case: ModelCase, base: bool, tmp_path: Path) -> None:
        model, clip = case.model(base), case.clip()
        model.save_pretrained(tmp_path)
        written = json.loads((tmp_path / "config.json").read_text())
        assert written["model_type"] == type(model).config_class.model_type
        assert written["architectures"] == [type(model).__name__]
        settings = TemporalReuseConfig(**case.settings).to_dict()
        assert all(written["temporal_reuse"][name] == settings[name] for name in case.settings)
        auto_classes = [AutoModel] if base or case.classifier is case.base else [AutoModelForVideoClassification]
        for loader in (type(model), *auto_classes):
            loaded = loader.from_pretrained(tmp_path, dtype=case.dtype, attn_implementation=case.attention)
            assert type(loaded) is type(model)
            assert not loaded.training
            weights, saved = loaded.state_dict(), model.state_dict()
            assert weights.keys() == saved.keys() and all(torch.equal(weights[name], saved[name]) for name in saved)
            output, expected = loaded(clip), model(clip)
            # Not bit for bit: the same weights lie elsewhere in memory, by which some processors round.
            assert_near(case.states(output), case.states(expected), case.tolerance)
            assert_same(output.reuse.to_tuple(), expected.reuse.to_tuple())

    def test_auto_classes_know_the_model(self, case: ModelCase, tmp_path: Path) -> None:
        case.model().save_pretrained(tmp_path)
        assert type(AutoConfig.from_pretrained(tmp_path)) is case.config_class
        if case.base.config_class is case.config_class:
            assert type(AutoModel.from_pretrained(tmp_path)) is case.base
        if case.classifier is not case.base:
            assert type(AutoModelForVideoClassification.from_pretrained(tmp_path)) is case.classifier
        if case.frame_classifier is not None:
            assert type(AutoModelForImageClassification.from_pretrained(tmp_path)) is case.frame_classifier

    def test_settings_given_at_loading_are_merged_with_the_saved_ones(self, case: ModelCase, tmp_path: Path) -> None:
        case.model(max_age=7).save_pretrained(tmp_path)
        loaded = case.classifier.from_pretrained(tmp_path, temporal_reuse={"mode": "off"})
        expected = {
            **case.config_class(temporal_reuse=case.settings).temporal_reuse.to_dict(),
            "max_age": 7,
            "mode": "off",
        }
        assert loaded.config.temporal_reuse.to_dict() == expected
        with pytest.raises(ValueError, match=r"^temporal_reuse\.threshold is -1, but must be"):
            case.classifier.from_pretrained(tmp_path, temporal_reuse={"threshold": -1})

    @torch.no_grad()
    def test_settings_may_change_between_calls(self, case: ModelCase) -> None:
        model = case.model()
        first, second = case.pieces(3, case.frames - 3)
        cache = model(first).past_key_values
        model.config.temporal_reuse.threshold = 1e6
        model.config.temporal_reuse.max_age = None
        output = model(second, past_key_values=cache, output_reuse_plan=True)
        plan = output.reuse.plan
        assert torch.equal(plan, case.always_computed(plan, past=True))
        model.config.temporal_reuse.threshold = -1
        with pytest.raises(ValueError, match=r"^temporal_reuse\.threshold is -1, but must be"):
            model(first)

    @pytest.mark.parametrize("difference", ["weights", "batch size", "dtype", "layers", "hidden size"])
    @torch.no_grad()
    def test_the_cache_of_something_else_is_refused(self, some_case: ModelCase, difference: str) -> None:
        clip = some_case.clip()
        cache = some_case.model()(clip).past_key_values
        other = some_case.model()
        match difference:
            case "weights":
                other = some_case.model(seed=1)
            case "batch size":
                clip = clip[:1]
            case "dtype":
                other = other.to(torch.float16)
            case "layers" | "hidden size":
                name = some_case.layers_name if difference == "layers" else "hidden_size"
                value = some_case.config_of(base=True)[name]
                config = some_case.config_class(**some_case.config_of(**{name: 2 * value}))
                other = some_case.classifier(config).eval()
        with pytest.raises(ValueError) as error:
            other(clip, past_key_values=cache)
        _assert_refuses(some_case, str(error.value), difference)

    def test_another_kind_of_cache_is_refused(self, some_case: ModelCase) -> None:
        with pytest.raises(
            ValueError, match=f"^past_key_values is a DynamicCache, but must be the {some_case.cache_name} "
        ):
            some_case.model()(some_case.clip(), past_key_values=DynamicCache())

    @pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
    @BASE
    @torch.no_grad()
    def test_attention_implementations_agree(
        self, case: ModelCase, base: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls = []
        # On the CPU only compiled flex attention ends the process.
        for module in (frame_model, window_model):
            monkeypatch.setattr(module, "check_attention_takes_masks", lambda *_: None)

        def registered(module: torch.nn.Module, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
            calls.append(module)
            return eager_attention_forward(module, *args, **kwargs)[0], None

        AttentionInterface.register("registered", registered)
        # Saliency comes from states, which at low precision differ between implementations; the plan must not.
        settings = {} if case.dtype == torch.float32 else {"saliency_weight": 0.0}
        model, clip = case.model(base, **settings), case.clip()
        expected = model(clip, output_reuse_plan=True)
        for attention in self.attentions:
            # Some parents refuse one; that of the case is what is expected.
            refused = attention == "flex_attention" and not case.parent(base)._supports_flex_attn
            if refused or attention == case.attention:
                continue
            model.set_attn_implementation(attention)
            # Compiling flex attention takes half a minute; what it computes is the same without.
            with torch.compiler.set_stance("force_eager"):
                output = model(clip, output_reuse_plan=True)
            _assert_same_plan(case, output, expected)
            assert_near(case.states(output), case.states(expected), case.tolerance)
            assert bool(calls) == (attention == "registered")


class ClassifierInvariants:
    """Of models with a head."""

    def test_training_is_dense_and_has_the_parents_gradients(self, case: ModelCase) -> None:
        model, parent = case.model().train(), case.parent().train()
        clip, labels = case.clip(), torch.arange(case.batch)
        output = model(clip, labels=labels)
        output.loss.backward()
        logits = case.clip_logits(parent(case.parent_input(clip)).logits)
        assert_same(output.logits, logits)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        assert_near(output.loss, loss, case.tolerance)
        for mine, theirs in zip(model.parameters(), parent.parameters(), strict=True):
            assert (mine.grad is None) == (theirs.grad is None)
            if theirs.grad is not None:
                assert_near(mine.grad, theirs.grad, case.tolerance)
        assert output.reuse is None
        assert output.past_key_values is None

    def test_loss_in_evaluation_is_that_of_the_mean_logits(self, case: ModelCase) -> None:
        labels = torch.arange(case.batch)
        output = case.model()(case.clip(), labels=labels)
        assert_same(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
        output.loss.backward()


class FrameReuseInvariants(ReuseInvariants):
    """Of models in which a frame attends to itself alone."""

    @torch.no_grad()
    def test_streams_of_long_clips_are_the_same_as_alone(
        self, case: ModelCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(planner, "MAX_FRAMES", 3)
        model, clip = case.model(), case.clip()
        together = model(clip, output_reuse_plan=True)
        for stream in range(case.batch):
            alone = model(clip[stream : stream + 1], output_reuse_plan=True)
            _assert_same_stream(case, alone, 0, together, stream)

    def test_streams_may_be_reset_after_inference_mode(self, case: ModelCase) -> None:
        model, clip = case.model(), case.clip()
        with torch.inference_mode():
            cache = model(clip[:, :2]).past_key_values
        cache.reset([0])
        cache.crop(-1)
        with torch.no_grad():
            output = model(clip[:, 2:], past_key_values=cache, output_reuse_plan=True)
        assert output.reuse.plan[0, 0].all()

    @torch.no_grad()
    def test_cropped_frames_are_computed_again(self, case: ModelCase) -> None:
        model, clip = case.model(), case.clip()
        cache = model(clip[:, :2]).past_key_values
        cache.crop(-2)
        output = model(clip[:, 2:], past_key_values=cache, output_reuse_plan=True)
        assert output.reuse.plan[:, 0].all()

    @BASE
    @pytest.mark.parametrize("mode", ["causal", "bidirectional"])
    @torch.no_grad()
    def test_identical_frames_cost_one_row_each(self, case: ModelCase, base: bool, mode: str) -> None:
        model = case.model(base, mode=mode, max_age=None)
        clip = case.clip()[:, :1].repeat(1, case.frames, 1, 1, 1)
        output = model(clip, output_reuse_plan=True)
        plan = output.reuse.plan
        assert plan[:, 0].all()
        assert plan[:, 1:, : case.prefix].all()
        assert not plan[:, 1:, case.prefix :].any()
        assert (output.reuse.computed_tokens == plan.shape[2] + (case.frames - 1) * case.prefix).all()
        states = case.states(output)
        for frame in range(1, case.frames):
            assert_near(states[:, frame], states[:, 0], case.tolerance)

    @BASE
    @pytest.mark.parametrize("piece", [1, 3])
    @torch.no_grad()
    def test_pieces_of_a_stream_are_the_same_as_one_call(self, causal_case: ModelCase, base: bool, piece: int) -> None:
        model, clip = causal_case.model(base), causal_case.clip()
        (whole,), whole_cache = run_pieces(model, [clip])
        pieces, cache = run_pieces(model, clip.split(piece, dim=1))
        assert_near(
            torch.cat(list(map(causal_case.states, pieces)), 1), causal_case.states(whole), causal_case.tolerance
        )
        assert torch.equal(torch.cat([output.reuse.plan for output in pieces], 1), whole.reuse.plan)
        assert torch.equal(sum(output.reuse.computed_tokens for output in pieces), whole.reuse.computed_tokens)
        assert torch.equal(sum(output.reuse.multiply_adds for output in pieces), whole.reuse.multiply_adds)
        assert_same_cache(cache, whole_cache, causal_case.tolerance)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_pixels_that_are_no_numbers_are_refused(self, some_case: ModelCase, value: float) -> None:
        clip = some_case.clip()
        clip[-1, -1, 0, 0, 0] = value
        with pytest.raises(ValueError, match="^pixel_values holds NaN or infinite values; check how the frames were "):
            some_case.model()(clip)


class FrameClassifierInvariants(ClassifierInvariants):
    """Of models with a head that look at frames one by one."""

    @torch.no_grad()
    def test_a_frame_classifier_is_the_video_classifier(self, causal_case: ModelCase) -> None:
        clip = causal_case.clip()
        expected = causal_case.model()(clip, output_reuse_plan=True)
        classifier, cache = causal_case.model(single_frames=True), None
        for time in range(causal_case.frames):
            output = classifier(clip[:, time], past_key_values=cache, output_reuse_plan=True)
            cache = output.past_key_values
            assert_near(output.logits, expected.frame_logits[:, time], causal_case.tolerance)
            assert torch.equal(output.reuse.plan[:, 0], expected.reuse.plan[:, time])
        assert_same_cache(cache, expected.past_key_values, causal_case.tolerance)

    @torch.no_grad()
    def test_logits_are_the_mean_of_the_frame_logits(self, case: ModelCase) -> None:
        output = case.model()(case.clip())
        assert output.frame_logits.shape == (case.batch, case.frames, case.config["num_labels"])
        assert_same(output.logits, output.frame_logits.mean(1))

    def test_a_clip_for_a_frame_classifier_is_refused_in_one_sentence(self, case: ModelCase) -> None:
        with pytest.raises(ValueError, match="^pixel_values has shape .*, but an image classifier takes one frame of"):
            case.model(single_frames=True)(case.clip())

    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((2, 3, 24, 24), "takes clips of shape (batch, frames, channels, height, width)"),
            ((3, 24, 24), "takes clips of shape (batch, frames, channels, height, width)"),
            ((1, 2, 4, 24, 24), "with 4 channels, but the model takes 3"),
            ((1, 0, 3, 24, 24), "needs at least one frame"),
            ((0, 2, 3, 24, 24), "needs at least one frame"),
        ],
        ids=str,
    )
    def test_a_wrong_clip_is_refused_in_one_sentence(
        self, some_case: ModelCase, shape: tuple[int, ...], words: str
    ) -> None:
        with pytest.raises(ValueError) as error:
            some_case.model()(torch.zeros(shape))
        message = str(error.value)
        assert message.startswith(f"pixel_values has shape {shape}, ")
        assert words in message
        assert message.endswith(".")

    @torch.no_grad()
    def test_single_frames_have_the_parents_shapes(self, plain_case: ModelCase) -> None:
        frame = plain_case.clip()[:, 0]
        for base in (False, True):
            for settings in ({}, {"mode": "off"}):
                output = plain_case.model(base, single_frames=not base, **settings)(frame, output_hidden_states=True)
                expected = plain_case.parent(base)(frame, output_hidden_states=True)
                for name, part in expected.items():
                    parts = zip(output[name], part) if isinstance(part, tuple) else [(output[name], part)]
                    for mine, theirs in parts:
                        assert_near(mine, theirs, plain_case.tolerance)

    @torch.no_grad()
    def test_the_cache_of_a_model_with_other_outputs_is_refused(self, case: ModelCase) -> None:
        clip = case.clip()
        cache = case.model()(clip).past_key_values
        if case.reads is None:
            # Both read all tokens: the streams of one go on in the other.
            assert case.model(base=True)(clip, past_key_values=cache).past_key_values is cache
            return
        with pytest.raises(ValueError) as error:
            case.model(base=True)(clip, past_key_values=cache)
        _assert_refuses(case, str(error.value), "outputs")


class MaskInvariants:
    """Of models whose parent takes a mask of tokens."""

    @BASE
    @torch.no_grad()
    def test_an_attention_mask_takes_the_parents_path(self, case: ModelCase, base: bool) -> None:
        model, parent = case.model(base), case.parent(base)
        clip = case.clip()
        tokens = case.prefix + clip[0, 0, 0].numel() // 16
        mask = torch.ones(case.batch, tokens, dtype=torch.long)
        mask[0, -5:] = mask[1, 3] = 0
        output = model(clip, attention_mask=mask)
        expected = parent(clip.flatten(0, 1), attention_mask=mask.repeat_interleave(case.frames, 0))
        expected = expected.last_hidden_state if base or "logits" not in expected else expected.logits
        assert_same(case.as_parent(case.states(output)), expected)
        assert output.past_key_values is None
        cache = model(clip).past_key_values
        with pytest.raises(ValueError, match="^past_key_values cannot be used with an attention mask; leave it out.$"):
            model(clip, attention_mask=mask, past_key_values=cache)


class WindowReuseInvariants(ReuseInvariants):
    """Of models in which all tokens of a window attend to one another."""

    @BASE
    @pytest.mark.parametrize("settings", [{}, {"representative": "spread"}, {"threshold": 0.2}], ids=str)
    @torch.no_grad()
    def test_identical_windows_cost_next_to_nothing(
        self, case: WindowCase, base: bool, settings: dict[str, Any]
    ) -> None:
        model = case.model(base, max_age=None, **settings)
        (first, *others), _ = run_pieces(model, [case.clip()] * 4)
        for output in others:
            assert torch.equal(output.reuse.plan, case.always_computed(output.reuse.plan, past=True))
            # What is held is still to be read.
            head = 0 if base else model.head_multiply_adds(int(output.reuse.total_tokens[0]))
            assert (output.reuse.multiply_adds < 0.1 * first.reuse.dense_multiply_adds + head).all()
            assert_near(case.states(output), case.states(first), case.tolerance)

    @pytest.mark.parametrize("representative", ["middle", "spread"])
    @pytest.mark.parametrize("stride", [None, 2], ids=lambda stride: f"stride-{stride}")
    @torch.no_grad()
    def test_a_still_scene_costs_a_row_for_each_position_once(
        self, case: WindowCase, stride: int | None, representative: str
    ) -> None:
        model = case.model(max_age=None, compute_budget=None, drift_weight=0, representative=representative)
        still = case.clip()[:, :1].repeat(1, case.frames, 1, 1, 1)
        (first, *others), _ = run_pieces(model, [still] * 3, stride=stride)
        positions = first.reuse.plan.shape[2]
        # The slot that the head reads is computed beside the middle of its position.
        in_the_middle = case.settings["mode"] == "bidirectional" and representative == "middle"
        extra = int(case.first_is_read and in_the_middle) + case.in_front
        assert first.reuse.computed_tokens.tolist() == [positions + extra] * case.batch
        for output in others:
            assert torch.equal(output.reuse.plan, case.always_computed(output.reuse.plan, past=True))
            assert_near(case.states(output), case.states(first), case.tolerance)

    @BASE
    @pytest.mark.parametrize("stride", [3, 11])
    @torch.no_grad()
    def test_a_known_stride_saves_embeddings_and_changes_nothing(
        self, case: WindowCase, base: bool, stride: int
    ) -> None:
        model, windows = case.model(base), case.windows(3, stride)
        plain, plain_cache = run_pieces(model, windows)
        outputs, cache = run_pieces(model, windows, stride=stride)
        shared = max(case.frames - stride, 0) // case.tubelet if stride % case.tubelet == 0 else 0
        encoder = model.video_encoder
        cost = encoder.parts.cost(encoder, plain[0].reuse.plan.shape[2])
        for index, (output, expected) in enumerate(zip(outputs, plain)):
            saved = shared * cost.patch if index else 0
            assert torch.equal(output.reuse.multiply_adds, expected.reuse.multiply_adds - saved)
            assert torch.equal(output.reuse.plan, expected.reuse.plan)
            assert_near(case.states(output), case.states(expected), case.tolerance)
        assert_near(cache.streams.patches, plain_cache.streams.patches, 1e-6)

    @torch.no_grad()
    def test_a_known_stride_with_fresh_streams(self, case: WindowCase) -> None:
        model, (first, second) = case.model(), case.windows(2)
        caches = [model(first).past_key_values for _ in range(2)]
        for cache in caches:
            cache.reset([0])
        # A fresh stream may show anything.
        second[0] = second[0].flip(0)
        plain, output = (
            model(second, past_key_values=cache, stride=stride, output_reuse_plan=True)
            for cache, stride in zip(caches, (None, case.stride))
        )
        assert torch.equal(output.reuse.plan, plain.reuse.plan)
        assert_near(case.states(output), case.states(plain), case.tolerance)
        saved = plain.reuse.multiply_adds - output.reuse.multiply_adds
        assert saved[0] == 0
        assert (saved[1:] > 0).all()

    @BASE
    @pytest.mark.parametrize("stride", [None, 2, 3])
    @torch.no_grad()
    def test_threshold_0_is_the_parent_on_every_window(
        self, plain_case: WindowCase, base: bool, stride: int | None
    ) -> None:
        model, parent = plain_case.model(base, threshold=0, compute_budget=None), plain_case.parent(base)
        windows = plain_case.windows(3, stride)
        outputs, _ = run_pieces(model, windows, stride=stride)
        for window, output in zip(windows, outputs):
            expected = parent(window)
            assert_near(
                plain_case.states(output),
                expected.last_hidden_state if base else expected.logits,
                plain_case.tolerance,
            )

    @pytest.mark.parametrize("max_age", [1, 2, 3])
    @torch.no_grad()
    def test_a_still_scene_is_recomputed_at_max_age(self, case: WindowCase, max_age: int) -> None:
        model = case.model(max_age=max_age)
        (first, *others), _ = run_pieces(model, [case.clip()] * 7)
        for age, output in enumerate(others, start=1):
            computed = output.reuse.computed_tokens
            if age % max_age:
                assert (computed == int(case.first_is_read) + case.in_front).all()
            elif case.first_is_read:
                # The slot that the head reads is never old.
                assert (computed >= first.reuse.computed_tokens - 1).all()
            else:
                assert torch.equal(output.reuse.plan, first.reuse.plan)

    @pytest.mark.parametrize("change", ["select", "repeat"])
    @torch.no_grad()
    def test_chosen_streams_go_on(self, case: WindowCase, change: str) -> None:
        model, (first, second) = case.model(), case.windows(2)
        cache = model(first).past_key_values
        other = copy.deepcopy(cache)
        if change == "select":
            order = torch.tensor([1])
            other.batch_select_indices(order)
        else:
            order = torch.arange(case.batch).repeat_interleave(2)
            other.batch_repeat_interleave(2)
        expected = model(second, past_key_values=cache, output_reuse_plan=True)
        output = model(second[order], past_key_values=other, output_reuse_plan=True)
        for mine, theirs in enumerate(order.tolist()):
            _assert_same_stream(case, output, mine, expected, theirs)

    def test_streams_may_be_reset_after_inference_mode(self, case: WindowCase) -> None:
        model, (first, second) = case.model(), case.windows(2)
        with torch.inference_mode():
            cache = model(first).past_key_values
        cache.reset([0])
        with torch.no_grad():
            output = model(second, past_key_values=cache, output_reuse_plan=True)
            alone = model(second[:1], output_reuse_plan=True)
        _assert_same_stream(case, output, 0, alone, 0)

    def test_a_cache_keeps_no_graph(self, case: WindowCase) -> None:
        _, cache = run_pieces(case.model(), case.windows(2))
        tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        tensors += [*cache.streams.tensors(), *([] if cache._output is None else [cache._output])]
        assert not any(tensor.requires_grad for tensor in tensors)

    @BASE
    @torch.no_grad()
    def test_a_short_clip_holds_its_last_frame(
        self, case: WindowCase, base: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        logging.get_logger("transformers").warning_once.cache_clear()
        short = case.clip()[:, :5]
        padded = torch.cat([short, short[:, -1:].repeat(1, case.frames - 5, 1, 1, 1)], dim=1)
        for settings in ({}, {"mode": "off"}):
            model = case.model(base, **settings)
            assert_same(case.states(model(short)), case.states(model(padded)))
        assert caplog.messages == [
            f"A clip of 5 frames is shorter than the {case.frames} that the model takes; its last frame is held."
        ]

    @BASE
    @pytest.mark.parametrize("settings", [{}, {"mode": "off"}], ids=["reuse", "off"])
    @pytest.mark.parametrize(
        ("shape", "words"),
        [
            ((8, 3, 24, 24), "must be (batch, frames, channels, height, width), here (batch, 8, 3, 24, 24)"),
            ((2, 0, 3, 24, 24), "must be (batch, frames, channels, height, width), here (batch, 8, 3, 24, 24)"),
            ((2, 8, 3, 16, 24), "frames of 3 x 16 x 24, but the model takes 3 x 24 x 24; resize the frames"),
            ((2, 8, 1, 24, 24), "frames of 1 x 24 x 24, but the model takes 3 x 24 x 24; resize the frames"),
            ((2, 9, 3, 24, 24), "has 9 frames, but the model takes 8; choose 8 of them"),
        ],
        ids=str,
    )
    def test_a_wrong_window_is_refused_in_one_sentence(
        self, some_case: WindowCase, base: bool, settings: dict[str, Any], shape: tuple[int, ...], words: str
    ) -> None:
        with pytest.raises(ValueError) as error:
            some_case.model(base, **settings)(torch.zeros(shape))
        message = str(error.value)
        assert message.startswith("pixel_values has ")
        assert words in message
        assert message.endswith(".")
        assert "\n" not in message

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_pixels_that_are_no_numbers_are_refused(self, some_case: WindowCase, value: float) -> None:
        clip = some_case.clip()
        clip[-1, -1, 0, 0, 0] = value
        with pytest.raises(ValueError, match="^pixel_values holds NaN or infinite values; check how the frames were "):
            some_case.model()(clip)

    def test_the_cache_of_frames_is_refused(self, case: WindowCase) -> None:
        words = f"^past_key_values is a TemporalReuseCache, but must be the {case.cache_name} "
        with pytest.raises(ValueError, match=words):
            case.model()(case.clip(), past_key_values=TemporalReuseCache(3))

    @pytest.mark.parametrize("stride", [0, -1, 2.5, True, "2"], ids=repr)
    def test_a_stride_that_is_none_is_refused(self, some_case: WindowCase, stride: Any) -> None:
        with pytest.raises(ValueError) as error:
            some_case.model()(some_case.clip(), stride=stride)
        assert str(error.value) == f"stride is {stride!r}, but must be a number of frames of at least 1, or None."

    @pytest.mark.parametrize("stride", [1, 4, 7])
    @torch.no_grad()
    def test_a_stride_that_contradicts_the_window_is_refused(self, some_case: WindowCase, stride: int) -> None:
        model, (first, second) = some_case.model(), some_case.windows(2)
        cache = model(first).past_key_values
        words = f"^the window does not go on from the cached one with a stride of {stride}: its first {8 - stride} "
        with pytest.raises(ValueError, match=words):
            model(second, past_key_values=cache, stride=stride)

    @torch.no_grad()
    def test_a_refused_window_leaves_the_cache_alone(self, case: WindowCase) -> None:
        model, (first, second) = case.model(), case.windows(2)
        cache = model(first).past_key_values
        expected = model(second, past_key_values=copy.deepcopy(cache))
        with pytest.raises(ValueError):
            model(second, past_key_values=cache, stride=4)
        assert_same(case.states(model(second, past_key_values=cache)), case.states(expected))

    @pytest.mark.parametrize("mode", ["training", "mode 'off'"])
    def test_a_stride_is_refused_where_nothing_is_reused(self, some_case: WindowCase, mode: str) -> None:
        model = some_case.model(mode="off")
        if mode == "training":
            model = some_case.model().train()
        with pytest.raises(ValueError, match=f"^stride cannot be used with {mode}; leave it out.$"):
            model(some_case.clip(), stride=2)

    @BASE
    @pytest.mark.parametrize("settings", [{}, {"mode": "off"}], ids=["reuse", "off"])
    @pytest.mark.parametrize("options", [{"banana": 1}, {"interpolate_pos_encoding": True}], ids=str)
    def test_an_unknown_keyword_is_refused(
        self, some_case: WindowCase, base: bool, settings: dict[str, Any], options: dict[str, Any]
    ) -> None:
        with pytest.raises(TypeError, match=f"has no use for '{next(iter(options))}'; leave it out.$"):
            some_case.model(base, **settings)(some_case.clip(), **options)

    @torch.no_grad()
    def test_a_cache_cannot_be_cropped(self, case: WindowCase) -> None:
        cache = case.model()(case.clip()).past_key_values
        with pytest.raises(NotImplementedError, match=f"^a {case.cache_name} cannot go back in time; .*[.]$"):
            cache.crop(-1)


def _assert_refuses(case: ModelCase, message: str, difference: str) -> None:
    assert message.startswith(f"this {case.cache_name} was filled with {difference} ")
    assert f", but is now used with {difference} " in message
    assert message.endswith("; start a new stream by leaving past_key_values out.")


def _assert_same_plan(case: ModelCase, output: Any, expected: Any) -> None:
    assert torch.equal(output.reuse.plan, expected.reuse.plan)
    for name in ("computed_tokens", "total_tokens", "computed_share", "multiply_adds", "dense_multiply_adds"):
        assert torch.equal(output.reuse[name], expected.reuse[name])


def _assert_same_stream(case: ModelCase, output: Any, stream: int, expected: Any, expected_stream: int) -> None:
    """Stream `stream` of one output is `expected_stream` of the other: decisions, costs and states."""
    for name, part in expected.reuse.items():
        assert torch.equal(output.reuse[name][stream], part[expected_stream]), name
    assert_near(case.states(output)[stream], case.states(expected)[expected_stream], case.tolerance)
