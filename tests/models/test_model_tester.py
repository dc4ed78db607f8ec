from __future__ import annotations

import unittest
from typing import Any
from unittest.mock import patch

import torch
from transformers.models.auto import modeling_auto

from hf_ttr import (
    TemporalReuseViTConfig,
    TemporalReuseViTForImageClassification,
    TemporalReuseViTForVideoClassification,
    TemporalReuseViTModel,
)

from .transformers_suite import load_suite


modeling, configuration = load_suite()


class ImageModelTester:
    batch_size, num_channels, image_size, patch_size = 3, 3, 32, 8
    num_hidden_layers, hidden_size, num_attention_heads = 2, 32, 4
    seq_length = 17
    is_training = True

    def __init__(self, parent: unittest.TestCase) -> None:
        self.parent = parent

    def get_config(self):
        return TemporalReuseViTConfig(image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, num_frames=4, temporal_reuse={"mode": "causal"})

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"pixel_values": torch.rand(3, 3, 32, 32)}

class VideoModelTester(ImageModelTester):
    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), {"pixel_values": torch.rand(3, 4, 3, 32, 32)}


class Suite:
    inputs_class = None
    def setUp(self):
        self.model_tester = self.inputs_class(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        if return_labels and model_class is not TemporalReuseViTModel:
            inputs["labels"] = torch.zeros(3, dtype=torch.long)
        return inputs

class TestImage(Suite, modeling.ModelTesterMixin, unittest.TestCase):
    inputs_class = ImageModelTester
    all_model_classes = (TemporalReuseViTModel, TemporalReuseViTForImageClassification)

class TestVideo(Suite, modeling.ModelTesterMixin, unittest.TestCase):
    inputs_class = VideoModelTester
    all_model_classes = (TemporalReuseViTModel, TemporalReuseViTForVideoClassification)
