"""Switches on what makes a model with reuse faster on the machine at hand, and says what it left off and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .display import shown
from .execution.graphs import graphs_for
from .execution.kernels import tuning
from .execution.kernels.interpolated_attention import kernel_unavailable_reason
from .execution.kernels.row_buckets import RowBuckets
from .execution.linear import MIN_WEIGHTS, has_onednn, is_plain_tensor, pack_linear, unpack_linear
from .execution.packed_weights import PackedWeights
from .models.captured_clips import CapturedClips
from .models.captured_steps import CapturedSteps
from .models.captured_windows import CapturedWindows
from .models.frame_model import FrameModel
from .models.window_model import WindowModel


WITH_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes of `torch.compile` that capture CUDA graphs."""


@dataclass(frozen=True)
class Optimization:
    """
    One way to be faster.

    Attributes:
        name (`str`): what it is.
        applied (`bool`): whether it is on.
        reason (`str`): what it does here, or why it is off.
    """

    name: str
    applied: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {'on' if self.applied else 'off'}, {self.reason}"


@dataclass(frozen=True)
class OptimizationReport:
    """
    What `optimize` did; printed, it has a line for each.

    Attributes:
        optimizations (`list[Optimization]`): in the order in which they were tried.
    """

    optimizations: list[Optimization] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(map(str, self.optimizations))


def optimize(
    model: PreTrainedModel,
    dtype: torch.dtype | None = None,
    compile: bool | str | None = None,
    frozen: bool = False,
    graphs: bool = False,
    tune: bool = False,
) -> OptimizationReport:
    """
    Makes a model with reuse as fast as this machine allows, in place; calls, cache and checkpoints stay as they are.

    - On the CPU, in float32, if the weights are `frozen`: they are packed for products of few rows, such as those of
      one frame of a stream (`PackedWeights`). It costs a second copy of the layers' weights in memory.
    - On a GPU: what a layer does row by row is compiled, with rows padded to a few sizes (`RowBuckets`), so that code
      is made once per size; `ReuseReport` counts the rows without padding. Attention is not part of it: it has a
      kernel of its own (Triton), of which the report says whether it is used.
    - With `graphs=True`, if the weights are `frozen`: what comes again and again goes on in steps of fixed shapes, on
      a GPU captured in CUDA graphs: live streams of models of frames (`CapturedSteps`), their clips (`CapturedClips`),
      and windows of streams of VideoMAE (`CapturedWindows`). What is left of the size of a step is filled with the
      tokens that would come next, so that a little more is computed than planned; of a clip it is padding. New
      streams, frames or windows of which most is computed, clips that go on with a cache, and calls that ask for more
      than outputs go the usual way.
    - With `dtype=torch.bfloat16`: the model is converted, where the device computes in it.

    To quantize as well (`torch.ao.quantization.quantize_dynamic`), do that first: quantized layers bring products of
    their own and are left alone here.

    Args:
        model (`PreTrainedModel`): a model of this package, on the device on which it will run.
        dtype (`torch.dtype`, *optional*): `torch.bfloat16` or `torch.float16`; by default the model keeps its own.
        compile (`bool` or `str`, *optional*): whether to compile, or the `mode` of `torch.compile`, such as
            `"reduce-overhead"` for CUDA graphs; by default on GPUs only, as on the CPU it is not faster.
        frozen (`bool`): a promise that the weights do not change any more: no training, no merging of adapters, no
            swapping of averages. Call `optimize` again if they did; torch does not count each way of changing them.
        graphs (`bool`): whether live streams and clips go on in captured steps. Where there is no GPU the steps run
            without graphs: not faster, but the same.
        tune (`bool`): whether block sizes of the attention kernel are measured on this GPU, which takes a minute or
            two. The best ones are kept in the user's folder for caches, and used from then on wherever they fit.

    Returns:
        `OptimizationReport`: what is on, and what is off for which reason.

    Raises:
        ValueError: if the model has no reuse, the dtype is none of these, or both `compile` and `graphs` would capture
            CUDA graphs; one sentence.

    Example:

    ```python
    >>> import hf_ttr

    >>> model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(hf_ttr.example("vit-demo"))
    >>> print(hf_ttr.optimize(model, compile=False))
    compiled layers: off, as asked
    packed weights: off, the layers have no linear weights in float32 of at least 131072 numbers
    captured steps: off, only if they are asked for, with graphs=True
    attention kernel: off, the tensors are on the device cpu, and the kernel needs a CUDA device
    tuned kernel: off, only if it is asked for, with tune=True

    ```
    """
    if graphs and compile in WITH_GRAPHS:
        raise ValueError(
            f"compile is {compile!r}, which captures CUDA graphs of its own, and so does graphs=True; pass "
            "compile=True, or leave graphs out."
        )
    body: Any = getattr(model, "video_encoder", None)
    if body is None:
        raise ValueError(
            f"a {type(model).__name__} has no temporal reuse to optimize; convert it with hf_ttr.with_temporal_reuse "
            "first."
        )
    if dtype not in (None, torch.bfloat16, torch.float16):
        raise ValueError(f"dtype is {dtype}, but optimize converts to torch.bfloat16 or torch.float16, or not at all.")
    done = [] if dtype is None else [_convert(model, dtype)]
    layers = body.parts.layers_of(body)
    has_steps = isinstance(body, FrameModel) or (isinstance(body, WindowModel) and body.parts.has_steps)
    reason = _not_captured_reason(body, graphs, frozen)
    done.append(_compile(body, layers, compile, is_captured=has_steps and not reason))
    done.append(_pack_weights(body, layers, frozen))
    if has_steps:
        done.append(_capture_steps(body, reason))
    if isinstance(body, FrameModel) or (isinstance(body, WindowModel) and body.parts.run_class.has_kernel):
        done.append(_look_at_attention_kernel(body))
        done.append(_tune_attention_kernel(body, tune, done[-1]))
    return OptimizationReport(done)


def _convert(model: nn.Module, dtype: torch.dtype) -> Optimization:
    name = str(dtype).removeprefix("torch.")
    device = _device(model)
    capable, lacks = True, ""
    if device.type == "cpu":
        short = "bf16" if dtype is torch.bfloat16 else "fp16"
        capable = any(has for flag, has in torch.cpu.get_capabilities().items() if short in flag)
        lacks = f"this CPU has no {name} instructions"
    elif device.type == "cuda" and dtype is torch.bfloat16:
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
        lacks = "this GPU has no bfloat16 instructions"
    if not capable:
        return Optimization(name, False, f"{lacks}, so it would be slower")
    model.to(dtype)
    return Optimization(name, True, "the weights were converted")


def _compile(body: Any, layers: nn.ModuleList, compile: bool | str | None, is_captured: bool) -> Optimization:
    name = "compiled layers"
    device = _device(body)
    if compile is None and device.type != "cuda":
        if device.type == "cpu":
            return Optimization(name, False, "on the CPU only if it is asked for, with compile=True")
        return Optimization(name, False, f"not tried on {device.type}; ask for it with compile=True")
    if compile is False:
        return Optimization(name, False, "as asked")
    # Padding costs next to nothing on a GPU. Elsewhere code for any number of rows spares it; captured steps have more
    # sizes than code is made for.
    body.row_buckets = RowBuckets() if device.type == "cuda" and not is_captured else None
    mode = compile if isinstance(compile, str) else None
    for layer in layers:
        layer.compile(mode=mode, dynamic=body.row_buckets is None)
    rows = "any number of rows" if body.row_buckets is None else "rows padded to a few sizes"
    return Optimization(name, True, f"for {rows}; the first calls compile")


def _pack_weights(body: Any, layers: nn.ModuleList, frozen: bool) -> Optimization:
    name = "packed weights"
    device = _device(body)
    reason = ""
    # Copies of before are of weights that may have changed since.
    body.packed_weights = None
    for module in layers.modules():
        unpack_linear(module)
    found = [layer for layer in _plain_linear_layers(layers) if layer.weight.numel() >= MIN_WEIGHTS]
    if device.type != "cpu":
        reason = f"the model is on {device.type}, and they are for the CPU"
    elif any(layer._compiled_call_impl is not None for layer in layers):
        reason = "compiled layers have products of their own"
    elif not has_onednn():
        reason = "torch was built without oneDNN"
    elif not found:
        reason = f"the layers have no linear weights in float32 of at least {MIN_WEIGHTS} numbers"
    elif not frozen:
        reason = "as the weights may change; pass frozen=True if they do not"
    if reason:
        return Optimization(name, False, reason)
    body.packed_weights = PackedWeights()
    for layer in found:
        if body.packed_weights.of(layer.weight) is not None:
            pack_linear(layer, body.packed_weights)
    if not len(body.packed_weights):
        return Optimization(name, False, "the weights were made in inference mode; load the model outside it")
    size = sum(layer.weight.nbytes for layer in found) / 2**20
    return Optimization(name, True, f"{len(found)} linear layers, {size:.0f} MiB more memory")


def _not_captured_reason(body: Any, graphs: bool, frozen: bool) -> str:
    """Why a model that has steps goes the usual way; empty where its steps are captured."""
    if not graphs:
        return "only if they are asked for, with graphs=True"
    if body.config._attn_implementation != "sdpa":
        return f"the model was loaded with attention {body.config._attn_implementation!r}"
    return "" if frozen else "as the weights may change; pass frozen=True if they do not"


def _capture_steps(body: Any, reason: str) -> Optimization:
    """
    Args:
        body: a model that has steps.
        reason (`str`): why they are not captured, or empty.
    """
    name = "captured steps"
    device = _device(body)
    body.captured_steps = body.captured_clips = None
    if reason:
        return Optimization(name, False, reason)
    steps = CapturedSteps if isinstance(body, FrameModel) else CapturedWindows
    body.captured_steps = steps(body, graphs_for(device))
    what = "live streams"
    if isinstance(body, FrameModel):
        body.captured_clips, what = CapturedClips(body, graphs_for(device)), "live streams and clips"
    how = "as CUDA graphs, each captured when it is first needed" if device.type == "cuda" else "without graphs"
    return Optimization(name, True, f"for {what}, {how}")


def _look_at_attention_kernel(body: Any) -> Optimization:
    """The kernel is used wherever it can be; this only says whether."""
    config = body.config
    name = "attention kernel"
    states = torch.empty(0, 1, _head_dim(body), dtype=body.dtype, device=body.device)
    if config._attn_implementation != "sdpa":
        return Optimization(name, False, f"the model was loaded with attention {config._attn_implementation!r}")
    reason = kernel_unavailable_reason(states, states, states)
    if reason is not None:
        return Optimization(name, False, reason.rstrip("."))
    return Optimization(name, True, "keys and values are interpolated as they are read")


def _tune_attention_kernel(body: Any, tune: bool, kernel: Optimization) -> Optimization:
    name = "tuned kernel"
    if not tune:
        return Optimization(name, False, "only if it is asked for, with tune=True")
    if not kernel.applied:
        return Optimization(name, False, kernel.reason)
    path = tuning.kernels_file()
    kind = (body.dtype, _head_dim(body))
    with torch.cuda.device(body.device):
        cases = [
            tuning.KernelCase.on(body.device, *kind, is_hold, longest)
            for is_hold, longest in product((True, False), tuning.LONGEST)
        ]
        try:
            found = tuning.tune(cases, tuning.milliseconds, path)
        except OSError as fault:
            return Optimization(name, False, f"the settings cannot be written ({shown(fault)})")
    if not found:
        return Optimization(name, False, "none of the settings runs on this GPU")
    return Optimization(name, True, f"settings of {found} kinds of frames are in '{shown(path)}'")


def _head_dim(body: Any) -> int:
    dim: int = body.config.hidden_size // body.config.num_attention_heads
    return dim


def _plain_linear_layers(layers: nn.ModuleList) -> Iterable[nn.Linear]:
    """Linear layers that hold float32 weights themselves: neither quantized nor adapted."""
    for module in layers.modules():
        if type(module) is nn.Linear and is_plain_tensor(module.weight) and module.weight.dtype == torch.float32:
            yield module


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


__all__ = ["Optimization", "OptimizationReport", "optimize"]
