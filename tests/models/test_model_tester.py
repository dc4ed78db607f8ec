"""transformers' own tests of models, run on every model with reuse."""

from __future__ import annotations

import importlib.util
import inspect
import re
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

from hf_ttr.models.register import MODELS, ReuseModel, parent_of

from ..tiny import make_clip
from .transformers_suite import load_suite


modeling, configuration = load_suite()

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "make_supported_table.py"
_spec = importlib.util.spec_from_file_location("make_supported_table", SCRIPT)
assert _spec is not None and _spec.loader is not None
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)
# The smallest there can be: a hundred tests run on each model.
SIZE, FRAMES = 16, 4
_few: dict[str, Any] = {
    **dict.fromkeys(("image_size", "crop_size"), SIZE),
    **dict.fromkeys(("num_frames", "frames_per_clip"), FRAMES),
    "num_patches": (SIZE // script.PATCH) ** 2,
    "initializer_range": 0.02,
}
script.TINY.update(_few)

# The tests know what a class is for by the names of transformers' own Auto classes.
AUTO_NAMES = {
    "base": "MODEL_MAPPING_NAMES",
    "image_classifier": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "video_classifier": "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
}


# What takes long and hangs on the body alone is tried on one model of each body.
BODIES = ("temporal_reuse_vit", "temporal_reuse_videomae")
OF_BODIES = (
    "test_bc_torch_dtype",
    "test_can_load_ignoring_mismatched_shapes",
    "test_can_use_safetensors",
    "test_cannot_load_with_meta_device_context_manager",
    "test_eager_matches_sdpa_inference_02_fp16_pad_left_no_attn_mask_sdpa_kernels",
    "test_eager_matches_sdpa_inference_03_fp16_pad_left_no_attn_mask",
    "test_eager_matches_sdpa_inference_11_fp32_pad_left_no_attn_mask",
    "test_eager_matches_sdpa_inference_19_bf16_pad_left_no_attn_mask",
    "test_feed_forward_chunking",
    "test_from_pretrained_no_checkpoint",
    "test_load_contiguous_weights",
    "test_load_save_without_tied_weights",
    "test_model_weights_reload_no_missing_tied_weights",
    "test_sdpa_can_dispatch_non_composite_models",
    "test_training_gradient_checkpointing",
    "test_training_gradient_checkpointing_use_reentrant_true",
)
# No forward method names a mask of tokens, without which these are the same tests again.
OF_MASKS = re.compile(
    r"test_eager_matches_sdpa_inference_\d+_\w+_pad_(right|left(?!_no_attn_mask|_output_attentions))"
)
# Their classifiers have parts that nobody reads, which get no gradient; so it is with the parents.
WITH_UNREAD_PARTS = ("clip", "dinov2", "dinov2_with_registers", "metaclip_2", "siglip", "siglip2", "vjepa2")
# Old names of parts that only other sizes of these models have.
WITH_OTHER_PARTS = ("beit", "dinov2", "dinov2_with_registers")
# They see a window, and return the attention within each frame.
WITH_ATTENTION_OF_FRAMES = ("timesformer",)


@pytest.fixture(autouse=True)
def no_upstream_deprecations() -> None:
    """Replaces the check of the same name: these tests call deprecated names on purpose."""


class Inputs:
    """
    What the tests need to know of a model; they call it a model tester.

    Args:
        config_class: of the model.
        frames (`int`, *optional*): of a clip; `None` for single frames.
        mode (`str`): of reuse.
    """

    batch_size, num_channels, is_training = 3, 3, True

    def __init__(self, config_class: type[PreTrainedConfig], frames: int | None, mode: str) -> None:
        self.config_class, self.frames, self.mode = config_class, frames, mode
        config = self.get_config()
        vision: Any = getattr(config, "vision_config", config)
        # Where frames are seen first and then time, layers are of two kinds.
        self.layers_are_alike = hasattr(vision, "num_hidden_layers")
        kinds = ("num_hidden_layers",) if self.layers_are_alike else ("num_spatial_layers", "num_temporal_layers")
        self.num_hidden_layers = sum(getattr(vision, name) for name in kinds)
        self.num_attention_heads = vision.num_attention_heads
        self.hidden_size, self.image_size = vision.hidden_size, SIZE
        self.seq_length = config.model_shape().tokens

    def get_config(self) -> Any:
        config = script.tiny_config(self.config_class)
        config.temporal_reuse = {"mode": self.mode, "threshold": 0.2}
        return config

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, torch.Tensor]]:
        clip = make_clip(self.batch_size, self.frames or 1, (SIZE, SIZE), script.PATCH)
        return self.get_config(), {"pixel_values": clip if self.frames else clip[:, 0]}


def takes_a_mask(kind: type[PreTrainedModel]) -> bool:
    """Whether the tests hand a model of this class a mask of tokens."""
    return "attention_mask" in inspect.signature(kind.forward).parameters


class ReuseModelTests:
    """Settings of `ModelTesterMixin`, and what does not apply to any model with reuse."""

    inputs: Inputs
    entry: ReuseModel
    all_model_classes: tuple[type[PreTrainedModel], ...] = ()
    test_resize_embeddings = False

    def setUp(self) -> None:
        self.model_tester = self.inputs
        name, config = self._testMethodName, self.entry.config  # type: ignore[attr-defined]
        if name in OF_BODIES and config.model_type not in BODIES:
            self.skipTest("It takes long, and hangs on the body alone.")  # type: ignore[attr-defined]
        if OF_MASKS.match(name) and not any(takes_a_mask(kind) for kind in self.all_model_classes):
            self.skipTest("It differs from another in a mask that the model is not handed.")  # type: ignore[attr-defined]
        if name.startswith("test_training_gradient") and config.parent_model_type in WITH_UNREAD_PARTS:
            self.skipTest("The classifier has parts that it does not read, as its parent has.")  # type: ignore[attr-defined]
        if name == "test_reverse_loading_mapping" and config.parent_model_type in WITH_OTHER_PARTS:
            self.skipTest("There are old names for parts that this size of the model has not.")  # type: ignore[attr-defined]
        if name == "test_attention_outputs" and config.parent_model_type in WITH_ATTENTION_OF_FRAMES:
            of_times = (self.inputs.seq_length - config.prefix_tokens) // FRAMES
            patcher = patch.object(self.inputs, "seq_length", config.prefix_tokens + of_times)
            patcher.start()
            self.addCleanup(patcher.stop)  # type: ignore[attr-defined]
        for use, mapping in AUTO_NAMES.items():
            kind = getattr(self.entry, use)
            if kind is not None:
                names = {self.entry.config.model_type: kind.__name__}
                patcher = patch.dict(getattr(modeling_auto, mapping), names)
                patcher.start()
                self.addCleanup(patcher.stop)  # type: ignore[attr-defined]

    def test_config(self) -> None:
        if hasattr(self.entry.config, "vision_config"):
            self.skipTest("It has parts, of which that for frames is tested by itself.")  # type: ignore[attr-defined]
        tester = configuration.ConfigTester(
            self,
            config_class=self.entry.config,
            has_text_modality=False,
            common_properties=None if self.inputs.layers_are_alike else ["hidden_size", "num_attention_heads"],
            hidden_size=32,
            num_attention_heads=self.inputs.num_attention_heads,
        )
        tester.run_common_tests()

    def test_model_get_set_embeddings(self) -> None:
        """As for all vision models, the input embeddings are a convolution; some parents do not tell."""
        for model_class in self.all_model_classes:
            model = model_class(self.inputs.get_config())
            try:
                parent_of(model_class)(self.inputs.get_config()).get_input_embeddings()
            except NotImplementedError:
                continue
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


def suite(entry: ReuseModel, frames: int | None, mode: str, *kinds: type[PreTrainedModel] | None) -> type:
    """The tests of some classes of a model."""
    names = {
        "entry": entry,
        "inputs": Inputs(entry.config, frames, mode),
        "all_model_classes": tuple(kind for kind in kinds if kind is not None),
    }
    return type(entry.config.__name__, (ReuseModelTests, modeling.ModelTesterMixin, unittest.TestCase), names)


for _entry in MODELS.values():
    if _entry.config.__module__.startswith("hf_ttr."):
        _name = "Test" + _entry.config.__name__.removeprefix("TemporalReuse").removesuffix("Config")
        _config = script.tiny_config(_entry.config)
        if _config.window_frames:
            globals()[_name] = suite(_entry, FRAMES, "bidirectional", _entry.base, _entry.video_classifier)
        else:
            globals()[_name] = suite(_entry, None, "causal", _entry.base, _entry.image_classifier)


def test_the_suite_is_that_of_the_installed_version() -> None:
    """A guard against an empty suite: the tests that matter here are all there, for every model."""
    suites = [found for name, found in globals().items() if name.startswith("Test")]
    assert len(suites) == sum(entry.config.__module__.startswith("hf_ttr.") for entry in MODELS.values()) >= 17
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
        "test_training_gradient_checkpointing_use_reentrant_false",
    }
    for found in suites:
        assert needed <= set(dir(found))
