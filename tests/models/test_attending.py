from __future__ import annotations

import torch
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from hf_ttr import TemporalReuseViTModel

from ..tiny import make_clip, tiny_video_classifier


@torch.no_grad()
def test_hidden_states_are_recorded_where_no_base_model_was_built_before() -> None:
    # Whether there is an entry depends on the tests before this one; it is there again afterwards.
    dict.pop(_CAN_RECORD_REGISTRY, str(TemporalReuseViTModel), None)
    output = tiny_video_classifier(mode="causal")(make_clip(), output_hidden_states=True)
    assert [states.shape for states in output.hidden_states] == [(2, 7, 37, 32)] * 4
