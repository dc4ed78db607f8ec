from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import convert_to_fp32, find_batch_size, gather, send_to_device
from safetensors.torch import save
from torch.utils._pytree import tree_map
from transformers import EvalPrediction, Trainer, TrainingArguments

import hf_ttr
from hf_ttr.execution.flops import ReuseReport
from hf_ttr.modeling_outputs import TemporalReuseModelOutput, concatenate_outputs, map_tensors

from .tiny import make_clip, tiny_parent, tiny_videomae


def output(value: int, frames: int = 2) -> TemporalReuseModelOutput:
    return TemporalReuseModelOutput(
        last_hidden_state=torch.full((1, frames, 3), value),
        hidden_states=(torch.full((1, frames), value), torch.full((1, frames), -value)),
        reuse=ReuseReport(computed_tokens=torch.tensor([value])),
    )


def test_mapping_reaches_every_tensor_and_keeps_the_kind() -> None:
    mapped = map_tensors(output(3), lambda tensor: tensor * 2)
    assert type(mapped) is TemporalReuseModelOutput
    assert (mapped.last_hidden_state == 6).all()
    assert [int(states[0, 0]) for states in mapped.hidden_states] == [6, -6]
    assert mapped.reuse.computed_tokens.tolist() == [6]
    assert mapped.attentions is None
    assert list(mapped.keys()) == ["last_hidden_state", "hidden_states", "reuse"]


def test_concatenation_along_streams_and_along_frames() -> None:
    streams = concatenate_outputs([output(1), output(2)], dim=0)
    assert streams.last_hidden_state[:, 0, 0].tolist() == [1, 2]
    assert streams.hidden_states[1].tolist() == [[-1, -1], [-2, -2]]
    assert streams.reuse.computed_tokens.tolist() == [1, 2]
    frames = [TemporalReuseModelOutput(last_hidden_state=output(value, value).last_hidden_state) for value in (1, 3)]
    assert concatenate_outputs(frames, dim=1).last_hidden_state[0, :, 0].tolist() == [1, 3, 3, 3]
    assert concatenate_outputs(frames[:1], dim=1) is frames[0]


def test_outputs_can_be_pickled() -> None:
    other = pickle.loads(pickle.dumps(output(3)))
    assert type(other) is TemporalReuseModelOutput
    assert other.reuse.computed_tokens.tolist() == [3]
    assert (other.last_hidden_state == 3).all()


MODELS: dict[str, Callable[[], Any]] = {
    "vit": lambda: hf_ttr.with_temporal_reuse(tiny_parent(), {"threshold": 0.1}),
    "videomae": lambda: hf_ttr.with_temporal_reuse(tiny_videomae(), {"threshold": 0.1}),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def test_trainer_evaluates_and_predicts(model: Any, tmp_path: Path) -> None:
    clips = make_clip(5, 8)
    data: Any = [{"pixel_values": clip, "labels": number % 5} for number, clip in enumerate(clips)]
    arguments = TrainingArguments(
        str(tmp_path), report_to=[], use_cpu=True, per_device_eval_batch_size=2, disable_tqdm=True
    )

    def accuracy(prediction: EvalPrediction) -> dict[str, float]:
        return {"accuracy": float((np.argmax(prediction.predictions, axis=1) == prediction.label_ids).mean())}

    trainer = Trainer(model, arguments, eval_dataset=data, compute_metrics=accuracy)
    metrics = trainer.evaluate()
    with torch.no_grad():
        expected = torch.cat([model(part).logits for part in clips.split(2)])
    found = trainer.predict(data)
    np.testing.assert_allclose(found.predictions, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert metrics["eval_accuracy"] == found.metrics["test_accuracy"] == accuracy(found)["accuracy"]
    assert "keys_to_ignore_at_inference" not in model.config.to_dict()


@torch.no_grad()
def test_generic_tools_handle_outputs(model: Any) -> None:
    output = model(make_clip(2, 8))
    for other in (
        pickle.loads(pickle.dumps(output)),
        copy.deepcopy(output),
        tree_map(lambda part: part, output),
        send_to_device(output, "cpu"),
        convert_to_fp32(output),
        gather(output),
        Accelerator(cpu=True).gather_for_metrics(output),
        type(output)(output.items()),
    ):
        assert type(other) is type(output) and list(other) == list(output)
        assert torch.equal(other.logits, output.logits)
        assert torch.equal(other.reuse.multiply_adds, output.reuse.multiply_adds)
    assert len(output.to_tuple()) == len(output) and find_batch_size(output) == 2
    assert torch.equal(model(make_clip(2, 8), return_dict=False)[0], output.logits)
    save({name: part for name, part in output.items() if isinstance(part, torch.Tensor)})


@torch.no_grad()
def test_a_report_as_json(model: Any) -> None:
    report = model(make_clip(2, 8), output_reuse_plan=True, output_token_maps=True).reuse
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["multiply_adds"] == report.multiply_adds.tolist() and "maps" not in content
    assert content["plan"] == report.plan.tolist()
