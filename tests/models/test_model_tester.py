"""transformers' own tests of models, run on the models with reuse."""

from __future__ import annotations

import unittest
from unittest.mock import patch

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from hf_ttr import (
    TemporalReuseTimesformerConfig,
    TemporalReuseTimesformerForVideoClassification,
    TemporalReuseTimesformerModel,
    TemporalReuseVideoMAEConfig,
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoMAEModel,
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
    TemporalReuseVivitConfig,
    TemporalReuseVivitForVideoClassification,
    TemporalReuseVivitModel,
    TemporalReuseVJEPA2Config,
    TemporalReuseVJEPA2ForVideoClassification,
    TemporalReuseVJEPA2Model,
)

from ..tiny import make_clip
from .transformers_suite import load_suite


modeling, configuration = load_suite()


@pytest.fixture(autouse=True)
def no_upstream_deprecations() -> None:
    """Replaces the check of the same name: these tests call deprecated names on purpose."""


class FrameInputs:
    """What the tests need to know; they call it a model tester."""

    batch_size, num_channels, image_size, patch_size = 3, 3, 32, 8
    hidden_size, num_hidden_layers, num_attention_heads = 32, 2, 4
    seq_length, mask_length, num_masks = 17, 16, 8
    is_training = True
    mode = "causal"

    def get_config(self) -> TemporalReuseViTConfig:
        return TemporalReuseViTConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            temporal_reuse={"mode": self.mode, "threshold": 0.2},
        )

    def get_pixel_values(self) -> torch.Tensor:
        return make_clip(self.batch_size, 4, (self.image_size,) * 2, self.patch_size)[:, 0]

    def prepare_config_and_inputs_for_common(self) -> tuple[TemporalReuseViTConfig, dict[str, torch.Tensor]]:
        return self.get_config(), {"pixel_values": self.get_pixel_values()}


class ClipInputs(FrameInputs):
    """The same for clips, with the default mode."""

    mode = "bidirectional"

    def get_pixel_values(self) -> torch.Tensor:
        return make_clip(self.batch_size, 4, (self.image_size,) * 2, self.patch_size)


class WindowInputs(FrameInputs):
    """The same for windows of a VideoMAE."""

    num_frames, tubelet_size = 4, 2
    seq_length, mask_length = 32, 32

    def get_config(self) -> TemporalReuseVideoMAEConfig:
        return TemporalReuseVideoMAEConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            num_frames=self.num_frames,
            tubelet_size=self.tubelet_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            decoder_hidden_size=16,
            decoder_intermediate_size=16,
            decoder_num_attention_heads=2,
            decoder_num_hidden_layers=1,
            temporal_reuse={"threshold": 0.2},
        )

    def get_pixel_values(self) -> torch.Tensor:
        return make_clip(self.batch_size, self.num_frames, (self.image_size,) * 2, self.patch_size)


class VivitInputs(WindowInputs):
    """The same for a ViViT."""

    seq_length, mask_length = 33, 32

    def get_config(self) -> TemporalReuseVivitConfig:
        return TemporalReuseVivitConfig(
            image_size=self.image_size,
            num_frames=self.num_frames,
            tubelet_size=[self.tubelet_size, self.patch_size, self.patch_size],
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            temporal_reuse={"threshold": 0.2},
        )


class TimesformerInputs(WindowInputs):
    """The same for a TimeSformer, whose attentions are those of each frame."""

    seq_length = 17

    def get_config(self) -> TemporalReuseTimesformerConfig:
        return TemporalReuseTimesformerConfig(
            image_size=self.image_size,
            patch_size=self.patch_size,
            num_frames=self.num_frames,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=37,
            temporal_reuse={"threshold": 0.2},
        )


class VJEPA2Inputs(WindowInputs):
    """The same for a V-JEPA 2."""

    def get_config(self) -> TemporalReuseVJEPA2Config:
        return TemporalReuseVJEPA2Config(
            crop_size=self.image_size,
            patch_size=self.patch_size,
            frames_per_clip=self.num_frames,
            tubelet_size=self.tubelet_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            mlp_ratio=1,
            num_pooler_layers=1,
            pred_hidden_size=32,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=1,
            temporal_reuse={"threshold": 0.2},
        )


class ReuseModelTests:
    """Settings of `ModelTesterMixin`, and what does not apply to any model with reuse."""

    inputs: FrameInputs
    config_class: type[PreTrainedConfig] = TemporalReuseViTConfig
    all_model_classes: tuple[type[PreTrainedModel], ...] = ()
    test_resize_embeddings = False
    # The tests know what a class is for by the names of transformers' own Auto classes.
    auto_names = {
        "MODEL_MAPPING_NAMES": "TemporalReuseViTModel",
        "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "TemporalReuseViTForImageClassification",
        "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES": "TemporalReuseViTForVideoClassification",
    }

    def setUp(self) -> None:
        self.model_tester = self.inputs
        for mapping, name in self.auto_names.items():
            patcher = patch.dict(getattr(modeling_auto, mapping), {self.config_class.model_type: name})
            patcher.start()
            self.addCleanup(patcher.stop)  # type: ignore[attr-defined]

    def test_config(self) -> None:
        tester = configuration.ConfigTester(
            self, config_class=self.config_class, has_text_modality=False, hidden_size=37
        )
        tester.run_common_tests()

    def test_model_get_set_embeddings(self) -> None:
        """As for all vision models, the input embeddings are a convolution."""
        for model_class in self.all_model_classes:
            model = model_class(self.inputs.get_config())
            assert isinstance(model.get_input_embeddings(), torch.nn.Module)
            assert model.get_output_embeddings() is None

    @unittest.skip("temporal_reuse is a config of settings: it has no model, and so no attention implementation.")
    def test_config_attn_implementation_setter(self) -> None:
        pass

    @unittest.skip("The input is pixels, not embeddings.")
    def test_inputs_embeds(self) -> None:
        pass

    @unittest.skip("The input is pixels, not embeddings.")
    def test_inputs_embeds_matches_input_ids(self) -> None:
        pass


class TestFrames(ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    inputs = FrameInputs()
    all_model_classes = (TemporalReuseViTModel, TemporalReuseViTForImageClassification)


class TestClips(ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    inputs = ClipInputs()
    all_model_classes = (TemporalReuseViTModel, TemporalReuseViTForVideoClassification)

    @unittest.skip("Hidden states of clips are views, with a frame dimension, of those that the layers handed on.")
    def test_retain_grad_hidden_states_attentions(self) -> None:
        pass


class TestWindows(ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    inputs = WindowInputs()
    config_class = TemporalReuseVideoMAEConfig
    all_model_classes = (TemporalReuseVideoMAEModel, TemporalReuseVideoMAEForVideoClassification)
    auto_names = {
        "MODEL_MAPPING_NAMES": "TemporalReuseVideoMAEModel",
        "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES": "TemporalReuseVideoMAEForVideoClassification",
    }


class TestVivit(ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    inputs = VivitInputs()
    config_class = TemporalReuseVivitConfig
    all_model_classes = (TemporalReuseVivitModel, TemporalReuseVivitForVideoClassification)
    auto_names = {
        "MODEL_MAPPING_NAMES": "TemporalReuseVivitModel",
        "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES": "TemporalReuseVivitForVideoClassification",
    }


class TestTimesformer(ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    inputs = TimesformerInputs()
    config_class = TemporalReuseTimesformerConfig
    all_model_classes = (TemporalReuseTimesformerModel, TemporalReuseTimesformerForVideoClassification)
    auto_names = {
        "MODEL_MAPPING_NAMES": "TemporalReuseTimesformerModel",
        "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES": "TemporalReuseTimesformerForVideoClassification",
    }

    def test_hidden_states_output(self) -> None:
        with patch.object(self.inputs, "seq_length", 65):
            super().test_hidden_states_output()


class TestVJEPA2(ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    inputs = VJEPA2Inputs()
    config_class = TemporalReuseVJEPA2Config
    all_model_classes = (TemporalReuseVJEPA2Model, TemporalReuseVJEPA2ForVideoClassification)
    auto_names = {
        "MODEL_MAPPING_NAMES": "TemporalReuseVJEPA2Model",
        "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES": "TemporalReuseVJEPA2ForVideoClassification",
    }

    @unittest.skip("The classifier has a predictor that it never runs, as its parent has.")
    def test_training_gradient_checkpointing(self) -> None:
        pass

    test_training_gradient_checkpointing_use_reentrant_false = test_training_gradient_checkpointing
    test_training_gradient_checkpointing_use_reentrant_true = test_training_gradient_checkpointing


def test_the_suite_is_that_of_the_installed_version() -> None:
    """A guard against an empty suite: the tests that matter here are all there."""
    tests = {name for name in dir(TestClips) if name.startswith("test_")}
    assert tests == {name for name in dir(TestWindows) if name.startswith("test_")}
    needed: set[str] = {
        "test_attention_outputs",
        "test_batching_equivalence",
        "test_can_load_from_already_mapped_keys",
        "test_determinism",
        "test_hidden_states_output",
        "test_model_outputs_equivalence",
        "test_save_load",
        "test_torch_save_load",
        "test_training",
        "test_training_gradient_checkpointing",
    }
    assert needed <= tests
