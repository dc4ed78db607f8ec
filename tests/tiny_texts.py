"""Tiny models that compare pictures with texts, and what belongs to them: tokenizers and processors."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from .tiny import TINY_VIT, made_once


VISION = {name: value for name, value in TINY_VIT.items() if name not in ("num_labels", "initializer_range")}
PIECES = ["<pad>", "<unk>", "<s>", "</s>", *string.ascii_lowercase, *(f"{letter}</w>" for letter in string.printable)]
TEXT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 160,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
PARENTS: dict[str, tuple[Any, Any]] = {
    "clip": (CLIPModel, CLIPConfig),
    "metaclip_2": (MetaClip2Model, MetaClip2Config),
    "siglip": (SiglipModel, SiglipConfig),
    "siglip2": (Siglip2Model, Siglip2Config),
}
LABELS = ["a cat", "A dog", "an empty driveway"]


def text_config(kind: str) -> dict[str, Any]:
    """Values of the config of a tiny model of a kind."""
    if "siglip" not in kind:
        return {"vision_config": VISION, "text_config": TEXT, "projection_dim": 20}
    vision = dict(VISION)
    if kind == "siglip2":
        del vision["image_size"]
        vision["num_patches"] = 36
    # Both towers speak the same size.
    return {"vision_config": vision, "text_config": {**TEXT, "projection_size": VISION["hidden_size"]}}


def text_model(kind: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> PreTrainedModel:
    """A random model of transformers with both towers, in which labels differ and so do frames."""
    parent, config = PARENTS[kind]
    values = text_config(kind)

    def make() -> PreTrainedModel:
        model = parent(config(**values)).to(dtype).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() > 1:
                    parameter.copy_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
                if "logit" in name:
                    parameter.fill_(1.5 if "scale" in name else -0.7)
        return model

    return made_once(make, seed, "texts", kind, values, dtype)


def tokenizer(kind: str) -> Any:
    """A tokenizer of letters; that of a SigLIP makes them small, as its own."""
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(PIECES))}
    if kind == "clip":
        pieces = {"<|startoftext|>": 2, "<|endoftext|>": 3}
        vocabulary = {piece: number for piece, number in vocabulary.items() if number not in (2, 3)} | pieces
        return CLIPTokenizer(vocab=vocabulary, merges=[], unk_token="<unk>", pad_token="<pad>")
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    if "siglip" in kind:
        backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>" if "siglip" in kind else "<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    inputs = ["input_ids"] if "siglip" in kind else ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names)


def image_processor(kind: str) -> Any:
    """A processor of transformers' own, as checkpoints of the kind have it."""
    size = {"height": 24, "width": 24}
    if kind == "siglip2":
        return Siglip2ImageProcessorPil(patch_size=4, max_num_patches=36)
    if kind == "siglip":
        return SiglipImageProcessorPil(size=size)
    return CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=size)


def save_text_model(kind: str, folder: Path, **options: Any) -> str:
    """A checkpoint as transformers writes it."""
    text_model(kind, **options).save_pretrained(folder)
    tokenizer(kind).save_pretrained(folder)
    image_processor(kind).save_pretrained(folder)
    return str(folder)
