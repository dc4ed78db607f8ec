"""Weights of other kinds than plain tensors in their places: quantized ones, and those that adapters change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import hf_ttr

from .tiny import make_clip, tiny_parent, tiny_videomae


# Large enough for the products of few rows to be chosen, and for weights to be packed.
WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512}
MAKERS: dict[str, Callable[..., Any]] = {"vit": tiny_parent, "videomae": tiny_videomae}
CLIP = make_clip(2, 8)
NAMES = {"vit": ["q_proj", "v_proj", "fc1"], "videomae": ["query", "value", "dense"]}


class StoredWeight(torch.Tensor):
    """Whole numbers and scales that pass for a float32 matrix, and serve linear layers and nothing else."""

    numbers: torch.Tensor
    scales: torch.Tensor

    @staticmethod
    def __new__(cls, numbers: torch.Tensor, scales: torch.Tensor) -> StoredWeight:
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=scales.dtype)

    def __init__(self, numbers: torch.Tensor, scales: torch.Tensor) -> None:
        self.numbers, self.scales = numbers, scales

    @classmethod
    def of(cls, weight: torch.Tensor) -> StoredWeight:
        scales = weight.abs().amax(1, keepdim=True) / 127
        return cls((weight / scales).round().to(torch.int8), scales)

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["numbers", "scales"], None

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is nn.functional.linear:
            return func(args[0], args[1].numbers * args[1].scales, *args[2:])
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return cls(args[0].numbers, args[0].scales)
        raise NotImplementedError(f"{func} of stored weights")


def store(model: nn.Module, skip: str) -> None:
    """Stores the weights of all linear layers but those whose name has `skip` in it."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and skip not in name:
            layer.weight = nn.Parameter(StoredWeight.of(layer.weight.detach()), requires_grad=False)


def logits(model: Any, clip: torch.Tensor = CLIP, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(clip, **options).logits


@pytest.mark.parametrize("kind", MAKERS)
def test_stored_weights_go_through_reuse_cache_and_optimize(kind: str) -> None:
    parent = MAKERS[kind](**WIDE)
    store(parent, skip="classifier")
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0.0})
    dense = logits(model, temporal_reuse={"mode": "off"})
    torch.testing.assert_close(logits(model), dense, rtol=1e-4, atol=1e-4)
    assert "packed weights: off, the layers have no linear weights in float32" in str(
        hf_ttr.optimize(model, frozen=True)
    )
    model.config.temporal_reuse = hf_ttr.TemporalReuseConfig(threshold=0.2)
    with torch.no_grad():
        cache = model(CLIP).past_key_values
        model(CLIP, past_key_values=cache)
        layer = next(layer for layer in model.base_model.modules() if isinstance(layer, nn.Linear))
        layer.weight.numbers.mul_(-1)
        with pytest.raises(ValueError, match="was filled with weights"):
            model(CLIP, past_key_values=cache)


@pytest.mark.parametrize("kind", MAKERS)
def test_weights_quantized_by_torchao(kind: str) -> None:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed.")
    parent = MAKERS[kind](**WIDE)
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0.0})
    before = logits(model)
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    found = logits(model)
    torch.testing.assert_close(found, logits(model, temporal_reuse={"mode": "off"}), rtol=1e-3, atol=1e-3)
    assert (found - before).abs().max() > 0
    hf_ttr.optimize(model, frozen=True)
    assert torch.equal(logits(model), found)


# peft's own call of what transformers deprecates.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("optimized", [False, True], ids=["plain", "optimized"])
@pytest.mark.parametrize("kind", MAKERS)
def test_adapters_that_are_merged_give_the_same(kind: str, optimized: bool) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed.")
    model = hf_ttr.with_temporal_reuse(MAKERS[kind](**WIDE), {"threshold": 0.0})
    if optimized:
        hf_ttr.optimize(model)
    config = peft.LoraConfig(target_modules=NAMES[kind], init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    with torch.no_grad():
        plain = adapted.get_base_model()
        with adapted.disable_adapter():
            without, cache = logits(adapted), plain(CLIP).past_key_values
        expected = logits(adapted)
        with pytest.raises(ValueError, match="was filled with weights"):
            plain(CLIP, past_key_values=cache)
        adapted.merge_adapter()
        torch.testing.assert_close(logits(adapted), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(logits(adapted.merge_and_unload()), expected, rtol=1e-3, atol=1e-3)
    assert (expected - without).abs().max() > 0.01


@pytest.mark.parametrize("part", ["first", "middle", "last"])
@pytest.mark.parametrize("change", ["counted", "data", "averages"])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_cache_of_other_weights_is_refused(kind: str, change: str, part: str) -> None:
    model = hf_ttr.with_temporal_reuse(MAKERS[kind](), {"threshold": 0.2})
    body: Any = model.base_model
    layers = body.layers if kind == "vit" else body.encoder.layer
    layer = layers[{"first": 0, "middle": 1, "last": 2}[part]]
    weight = next(weight for weight in layer.parameters() if weight.dim() == 2)
    with torch.no_grad():
        cache = model(CLIP).past_key_values
        model(CLIP, past_key_values=cache)
        if change == "counted":
            weight.add_(0.1)
        elif change == "data":
            weight.data.add_(0.1)
        else:
            weight.data, _ = weight.data + 0.1, weight.data
        with pytest.raises(ValueError, match="start a new stream by leaving past_key_values out"):
            model(CLIP, past_key_values=cache)
        model(CLIP)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_cache_serves_a_copy_of_the_model(kind: str) -> None:
    model, same = (hf_ttr.with_temporal_reuse(MAKERS[kind](), {"threshold": 0.2}) for _ in range(2))
    with torch.no_grad():
        cache = model(CLIP).past_key_values
        expected = model(CLIP.flip(0)).logits.shape
        assert same(CLIP.flip(0), past_key_values=cache).logits.shape == expected


FLEX = {"vit": [{"method": "tome", "r": 2}], "videomae": []}


# torch's own call of what it deprecates, on behalf of transformers.
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask:DeprecationWarning")
@pytest.mark.parametrize("kind", MAKERS)
def test_flex_attention_with_a_mask_is_refused_on_the_cpu(kind: str) -> None:
    """torch ends the process there."""
    parent = MAKERS[kind]()
    parent.set_attn_implementation("flex_attention")
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0.2, "reduction": FLEX[kind]})
    with pytest.raises(ValueError, match="'flex_attention' cannot be given a mask on the CPU.*'sdpa'"):
        logits(model)
    expected = logits(hf_ttr.with_temporal_reuse(MAKERS[kind](), {"mode": "off"}))
    # Compiling it takes most of a minute, and it is the same.
    with torch.compiler.set_stance("force_eager"):
        torch.testing.assert_close(logits(model, temporal_reuse={"mode": "off", "reduction": []}), expected)
