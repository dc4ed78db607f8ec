"""The benchmark of the outputs of every patch, on random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from benchmarks import dense_outputs
from benchmarks.common import MissingData
from benchmarks.dense_outputs import METHODS, Clip, FreshLastLayer, Interpolated, Reused, tried
from benchmarks.fidelity import scripts
from benchmarks.saliency import Decoder, load_saliency
from benchmarks.table import as_markdown

from ..tiny import TINY_VIT, make_clip
from .counting import profiled


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    settings = {name: value for name, value in TINY_VIT.items() if name != "intermediate_size"}
    model = Dinov2Model(Dinov2Config(**settings, mlp_ratio=2)).eval()
    return Clip(model, Decoder(TINY_VIT["hidden_size"], (4, 4, 4)).eval(), make_clip(batch=1, frames=9)[0])


@pytest.mark.parametrize("method", [*METHODS.values(), FreshLastLayer], ids=lambda method: method.__name__)
def test_methods_cost_what_a_profiler_counts(method: Any, clip: Clip) -> None:
    found = method(clip.model, 0.5)
    with torch.no_grad():
        states = found.clip(clip.pixels)
    assert states.shape == clip.states.shape
    assert found.multiply_adds == profiled(found, clip.pixels)


def test_what_is_computed_whole_is_the_dense_model(clip: Clip) -> None:
    for method, setting in ((Interpolated, 1.0), (Reused, 0.0)):
        found = clip.measured(method, setting)
        assert found["frames"] == 9 and found["share"] == pytest.approx(1, abs=0.02)
        assert found["distance"] == pytest.approx(0, abs=1e-5) and found["map_correlation"] == pytest.approx(1)
    assert clip.measured(Interpolated, 0.3)["distance"] > 1e-4


def test_known_states_are_not_computed_again(clip: Clip) -> None:
    alone, known = Interpolated(clip.model, 0.3), Interpolated(clip.model, 0.3, clip.states)
    torch.testing.assert_close(alone.clip(clip.pixels), known.clip(clip.pixels))
    assert alone.multiply_adds == known.multiply_adds


def test_without_the_model_a_sentence_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"there is no model in .*; make it of the wheel"):
        load_saliency(tmp_path)


def test_tables_name_the_videos_on_which_skipping_is_nearer() -> None:
    rows = []
    for video, own in (("a", 0.5), ("b", 2.0)):
        for key, method in {**METHODS, **tried()}.items():
            for setting in (*method.sweep, 0.05):
                distance = (1.0 if key.startswith("skip") else own) * 0.01 / setting
                row = {"key": ["dinov2 own", key, f"{setting:g}", video], "share": setting, "distance": distance}
                rows.append({**row, "map_kl": distance, "map_correlation": 0.9, "map_error": distance})
    result = {"rows": rows}
    text = as_markdown(dense_outputs.never_worse(result))
    assert text.count("| own | 2 | 1.00 | 2.00 | b (2.00) |") == 6
    assert f"| 4x | {Interpolated.title} | 2 | 0.04000 | 0.04000 | 0.9000 | 0.04000 |" in as_markdown(
        dense_outputs.table(result)
    )
    assert "| as for CLS | 0.50 (0.50, 0 of 1) | 2.00 (2.00, 1 of 1) |" in as_markdown(
        dense_outputs.what_was_tried(result)
    )


def test_an_onnx_file_is_read_without_its_package() -> None:
    script = scripts("make_saliency_model")

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    numbers = torch.arange(6.0).view(2, 3)
    shape, dtype = bytes([script.SHAPE << 3, 2, script.SHAPE << 3, 3]), bytes([script.DTYPE << 3, script.FLOAT])
    tensor = shape + dtype + field(script.NAME, b"onnx::MatMul_1") + field(script.DATA, numbers.numpy().tobytes())
    node = field(script.INPUT, b"x") + field(script.INPUT, b"onnx::MatMul_1") + field(script.NODE_NAME, b"/a/MatMul")
    graph = field(script.NODE, node) + field(script.INITIALIZER, tensor)
    tensors, inputs = script.read_onnx(field(script.GRAPH, graph))
    assert inputs == {"/a/MatMul": ["x", "onnx::MatMul_1"]}
    torch.testing.assert_close(tensors, {"onnx::MatMul_1": numbers})
