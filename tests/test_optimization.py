from __future__ import annotations

import copy
import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

import hf_ttr
from hf_ttr import optimization
from hf_ttr.execution.graphs import NoGraphs
from hf_ttr.execution.kernels import tuning
from hf_ttr.execution.kernels.row_buckets import RowBuckets

from .tiny import make_clip, tiny_parent, tiny_videomae


SETTINGS: dict[str, Any] = {"compute_budget": 0.4, "context_weight": 0.1, "context_size": 3}
# Just large enough for the weights to be worth packing.
WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512}
MAKERS: dict[str, Callable[..., Any]] = {
    "vit": lambda **config: hf_ttr.with_temporal_reuse(tiny_parent(**config), SETTINGS),
    "videomae": lambda **config: hf_ttr.with_temporal_reuse(tiny_videomae(**config), SETTINGS),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a model with reuse of one kind; called again, one with the same weights."""
    return MAKERS[request.param]


def run(model: Any, frames: int = 16, piece: int = 8) -> list[torch.Tensor]:
    """Logits of the pieces of two streams."""
    cache, logits = None, []
    with torch.no_grad():
        for part in make_clip(frames=frames).split(piece, dim=1):
            output = model(part, past_key_values=cache)
            cache = output.past_key_values
            logits.append(output.logits)
    return logits


def test_packed_weights_change_nothing_but_rounding(make: Callable[..., Any]) -> None:
    model, expected = make(**WIDE), run(make(**WIDE))
    report = hf_ttr.optimize(model, frozen=True)
    applied = {entry.name: entry.applied for entry in report.optimizations}
    assert applied.pop("attention kernel", False) is False
    assert applied.pop("tuned kernel", False) is False
    assert applied.pop("captured steps", False) is False
    assert applied == {"compiled layers": False, "packed weights": True}
    assert "MiB more memory" in str(report)
    # In each of three layers the two weights of the MLP; the others are too small to be worth it.
    assert len(model.base_model.packed_weights) == 3 * 2
    torch.testing.assert_close(run(model), expected, rtol=1e-4, atol=1e-4)


def test_an_optimized_model_is_saved_copied_and_moved_as_ever(make: Callable[..., Any], tmp_path: Path) -> None:
    model, plain = make(**WIDE), make(**WIDE)
    hf_ttr.optimize(model, frozen=True)
    expected = run(plain)
    assert model.state_dict().keys() == plain.state_dict().keys()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    for other in (loaded, copy.deepcopy(model)):
        torch.testing.assert_close(run(other), expected, rtol=1e-4, atol=1e-4)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    torch.testing.assert_close(run(torch.load(file, weights_only=False)), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(run(model.double().float()), expected, rtol=1e-4, atol=1e-4)


def test_weights_that_change_are_packed_anew(make: Callable[..., Any]) -> None:
    model, plain = make(**WIDE), make(seed=1, **WIDE)
    hf_ttr.optimize(model, frozen=True)
    model.load_state_dict(plain.state_dict())
    torch.testing.assert_close(run(model), run(plain), rtol=1e-4, atol=1e-4)


def double_in_place(weight: torch.Tensor) -> None:
    weight.mul_(2)


def double_data(weight: torch.Tensor) -> None:
    weight.data.mul_(2)


def double_numpy(weight: torch.Tensor) -> None:
    numbers = weight.detach().numpy()
    numbers *= 2


def swap_data(weight: torch.Tensor) -> None:
    weight.data = weight.data * 2


def double_one(weight: torch.Tensor) -> None:
    weight.data[-1, 0] = 100.0


CHANGES = (double_in_place, double_data, double_numpy, swap_data, double_one)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_an_optimized_model_computes_with_the_weights_that_are_there(
    make: Callable[..., Any], change: Callable[[torch.Tensor], None]
) -> None:
    model, plain = make(**WIDE), make(**WIDE)
    hf_ttr.optimize(model)
    before = run(model)
    with torch.no_grad():
        for each in (model, plain):
            for weight in each.base_model.parameters():
                if weight.dim() == 2:
                    change(weight)
    found = run(model)
    torch.testing.assert_close(found, run(plain), rtol=1e-4, atol=1e-4)
    assert (found[0] - before[0]).abs().max() > 1e-2


@pytest.mark.parametrize("change", CHANGES[:-1], ids=lambda change: change.__name__)
def test_a_broken_promise_is_noticed_where_whole_weights_change(
    make: Callable[..., Any], change: Callable[[torch.Tensor], None]
) -> None:
    model, plain = make(**WIDE), make(**WIDE)
    hf_ttr.optimize(model, frozen=True)
    run(model)
    with torch.no_grad():
        for each in (model, plain):
            for weight in each.base_model.parameters():
                change(weight)
    # Of the first piece: what is planned behind it goes by how salient tokens are, whose order rounding may change.
    torch.testing.assert_close(run(model)[0], run(plain)[0], rtol=1e-4, atol=1e-4)


def test_optimizing_again_packs_what_is_there_now(make: Callable[..., Any]) -> None:
    model, plain = make(**WIDE), make(**WIDE)
    hf_ttr.optimize(model, frozen=True)
    for each in (model, plain):
        for weight in each.base_model.parameters():
            if weight.dim() == 2:
                double_one(weight)
    hf_ttr.optimize(model, frozen=True)
    torch.testing.assert_close(run(model), run(plain), rtol=1e-4, atol=1e-4)
    hf_ttr.optimize(model)
    assert model.base_model.packed_weights is None


@pytest.mark.parametrize("batch", [1, 2], ids=lambda batch: f"B{batch}")
def test_rows_in_buckets_give_the_same(make: Callable[..., Any], batch: int) -> None:
    model, expected = make(), run(make())
    model.base_model.row_buckets = RowBuckets(64)
    torch.testing.assert_close(run(model), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        states = model.base_model(make_clip(batch=batch, frames=8)).last_hidden_state
        expected_states = make().base_model(make_clip(batch=batch, frames=8)).last_hidden_state
    torch.testing.assert_close(states, expected_states, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
def test_compiled_layers_serve_any_number_of_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One compilation of what a layer does row by row serves all layers, and calls of all sizes."""
    torch._dynamo.reset()
    counter = CompileCounter()
    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda module, mode, dynamic: compile_module(module, backend=counter, dynamic=dynamic)
    )
    model, plain = MAKERS[kind](), MAKERS[kind]()
    report = hf_ttr.optimize(model, compile=True)
    assert [entry.applied for entry in report.optimizations[:2]] == [True, False]
    expected = run(plain)
    torch.testing.assert_close(run(model), expected, rtol=1e-4, atol=1e-5)
    compiled = counter.frame_count
    assert 0 < compiled < 20
    for budget in (0.3, 0.5, 0.6):
        for each in (model, plain):
            each.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**{**SETTINGS, "compute_budget": budget})
        torch.testing.assert_close(
            run(model, piece=4 if kind == "vit" else 8),
            run(plain, piece=4 if kind == "vit" else 8),
            rtol=1e-4,
            atol=1e-5,
        )
    assert counter.frame_count <= compiled + 2
    torch._dynamo.reset()


def test_compiled_layers_serve_captured_steps_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    counter = CompileCounter()
    compile_module = nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda module, mode, dynamic: compile_module(module, backend=counter, dynamic=dynamic)
    )
    model, plain = MAKERS["vit"](), MAKERS["vit"]()
    hf_ttr.optimize(model, compile=True, frozen=True, graphs=True)
    hf_ttr.optimize(plain, frozen=True, graphs=True)
    clip, compiled = make_clip(frames=12), []
    with torch.no_grad():
        for share in (0.2, 0.3, 0.4, 0.5, 0.6):
            found = []
            for each in (model, plain):
                settings = {**SETTINGS, "mode": "causal", "compute_budget": share, "threshold": None}
                cache, logits = None, []
                for frame in clip.split(1, dim=1):
                    output = each(frame, past_key_values=cache, temporal_reuse=settings)
                    cache = output.past_key_values
                    logits.append(output.frame_logits)
                found.append(torch.cat(logits, dim=1))
            torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
            compiled.append(counter.frame_count)
    steps = model.video_encoder.captured_steps
    assert not steps.reason and steps.captured > 10
    assert compiled[-1] <= compiled[0] + 2
    torch._dynamo.reset()


@pytest.mark.parametrize("asked", [{}, {"frozen": True}, {"graphs": True}, {"graphs": True, "frozen": True}], ids=str)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_stay_in_buckets_where_no_steps_are_captured(
    make: Callable[..., Any], attention: str, asked: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[bool] = []
    # As on a GPU, where nothing runs.
    monkeypatch.setattr(optimization, "_device", lambda model: torch.device("cuda"))
    monkeypatch.setattr(optimization, "graphs_for", lambda device: NoGraphs())
    monkeypatch.setattr(nn.Module, "compile", lambda module, mode, dynamic: compiled.append(dynamic))
    model = make(attn_implementation=attention)
    report = str(hf_ttr.optimize(model, **asked))
    captured = "captured steps: on" in report
    assert captured == (attention == "sdpa" and len(asked) == 2)
    body = model.video_encoder
    assert (body.captured_steps is not None) == captured and (body.row_buckets is None) == captured
    assert compiled == [captured] * 3
    rows = "any number of rows" if captured else "rows padded to a few sizes"
    assert f"compiled layers: on, for {rows}; the first calls compile" in report.splitlines()


def test_rows_of_a_model_without_steps_stay_in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimization, "_device", lambda model: torch.device("cuda"))
    monkeypatch.setattr(nn.Module, "compile", lambda module, mode, dynamic: None)
    model = MAKERS["videomae"]()
    monkeypatch.setattr(type(model.video_encoder.parts), "has_steps", False)
    assert "captured steps" not in str(hf_ttr.optimize(model, frozen=True, graphs=True))
    assert model.video_encoder.row_buckets is not None


@pytest.mark.parametrize("mode", ["reduce-overhead", "max-autotune"])
def test_graphs_are_captured_once(make: Callable[..., Any], mode: str) -> None:
    with pytest.raises(ValueError, match=f"compile is '{mode}', which captures CUDA graphs of its own"):
        hf_ttr.optimize(make(), compile=mode, frozen=True, graphs=True)


def test_a_compiled_model_runs(make: Callable[..., Any]) -> None:
    """`torch.compile` of the whole model leaves planning and cache alone."""
    torch._dynamo.reset()
    model, clip = make(), make_clip(frames=8)
    with torch.no_grad():
        expected = model(clip).logits
        torch.testing.assert_close(torch.compile(model, backend="eager")(clip).logits, expected, rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU: rows in buckets are tested on the CPU.")
@pytest.mark.parametrize("mode", [True, "reduce-overhead"], ids=str)
def test_compiled_layers_on_a_gpu(make: Callable[..., Any], mode: bool | str) -> None:
    model, expected = make().cuda(), run(make())
    assert hf_ttr.optimize(model, compile=mode).optimizations[0].applied
    with torch.no_grad():
        found = model(make_clip(frames=8).cuda()).logits.cpu()
    torch.testing.assert_close(found, expected[0], rtol=1e-2, atol=1e-2)


def test_half_precision_only_where_it_is_computed(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "amx_bf16": False})
    first = hf_ttr.optimize(model, dtype=torch.bfloat16).optimizations[0]
    assert str(first) == "bfloat16: off, this CPU has no bfloat16 instructions, so it would be slower"
    assert model.dtype == torch.float32
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    report = hf_ttr.optimize(model, dtype=torch.bfloat16)
    assert report.optimizations[0].applied and model.dtype == torch.bfloat16
    assert not report.optimizations[-1].applied
    torch.testing.assert_close(run(model)[0].float(), run(make())[0], rtol=0.1, atol=0.1)


def test_quantized_models_run_with_reuse(make: Callable[..., Any]) -> None:
    """Dynamic quantization loses no more with reuse than without; there is nothing left to pack."""
    model = make(**WIDE)
    with pytest.warns(DeprecationWarning):
        quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    assert not any(type(module) is nn.Linear for module in quantized.modules())
    report = hf_ttr.optimize(quantized)
    assert not any(entry.applied for entry in report.optimizations)
    errors = {}
    for mode in ("bidirectional", "off"):
        for each in (model, quantized):
            each.config.temporal_reuse = hf_ttr.TemporalReuseConfig(**SETTINGS, mode=mode)
        with torch.no_grad():
            clip = make_clip(frames=8)
            errors[mode] = (model(clip).logits - quantized(clip).logits).abs().max().item()
    assert 0 < errors["bidirectional"] < 2 * errors["off"]


@torch.inference_mode()
def test_weights_of_inference_mode_are_not_packed() -> None:
    report = hf_ttr.optimize(MAKERS["vit"](**WIDE), frozen=True)
    assert "packed weights: off, the weights were made in inference mode" in str(report)


def test_what_cannot_be_optimized_is_named() -> None:
    with pytest.raises(ValueError, match="a ViTForImageClassification has no temporal reuse"):
        hf_ttr.optimize(tiny_parent())
    with pytest.raises(ValueError, match="dtype is torch.float64"):
        hf_ttr.optimize(MAKERS["vit"](), dtype=torch.float64)


def test_the_kernel_is_tuned_for_the_model_where_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = MAKERS["vit"]().bfloat16()
    off = "tuned kernel: off, the tensors are on the device cpu, and the kernel needs a CUDA device"
    assert off in str(hf_ttr.optimize(model, tune=True)).splitlines()
    assert not any(tmp_path.iterdir())

    def benchmark(case: tuning.KernelCase, settings: tuning.Settings) -> float:
        if case.longest == 16:
            raise RuntimeError("out of resources")
        return 1.0 / settings["num_stages"]

    def case_on(device: torch.device, *rest: Any) -> tuning.KernelCase:
        return tuning.KernelCase("a GPU", "3.5.1", *rest)

    monkeypatch.setattr(optimization, "kernel_unavailable_reason", lambda *states: None)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(tuning.KernelCase, "on", case_on)
    monkeypatch.setattr(tuning, "milliseconds", benchmark)
    path = tmp_path / "hf_ttr" / "kernels.json"
    report = str(hf_ttr.optimize(model, tune=True))
    assert f"tuned kernel: on, settings of 6 kinds of frames are in '{path}'" in report.splitlines()
    head_dim = model.config.hidden_size // model.config.num_attention_heads
    case = tuning.KernelCase("a GPU", "3.5.1", torch.bfloat16, head_dim, False, 128)
    assert tuning.tuned_settings(case, str(path))["num_stages"] == 3
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file where the folder should be")
    assert "tuned kernel: off, the settings cannot be written (" in str(hf_ttr.optimize(model, tune=True))
