from __future__ import annotations

import pickle

import torch

from hf_ttr.flops import ReuseReport
from hf_ttr.modeling_outputs import TemporalReuseModelOutput, concatenate_outputs, map_tensors


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
