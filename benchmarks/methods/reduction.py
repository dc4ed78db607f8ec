"""Token reduction of this package, alone and together with reuse, for models of frames and of clips."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch

import hf_ttr

from .base import Method


class ReducedTokens(Method):
    """Clips through a model with a method of reduction; a subclass says which, and whether tokens are reused."""

    def __init__(self, model: Any, setting: float = 0.5) -> None:
        super().__init__(model, setting)
        plain: Any = hf_ttr.with_temporal_reuse(model)
        shape = plain.config.model_shape()
        self.layers, self.tokens, self.protected = shape.layers, shape.tokens, shape.protected
        self.reduced: Any = hf_ttr.with_temporal_reuse(model, self.settings())

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The `TemporalReuseConfig` that the knob stands for."""

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The clip in one call."""
        output = self.reduced(pixels[None], use_cache=False)
        self.multiply_adds += int(output.reuse.multiply_adds)
        logits: torch.Tensor = output.logits if output.get("frame_logits") is None else output.frame_logits[0]
        return logits

    def merged(self, share: float) -> list[int]:
        """Rows that each layer merges away if it is this share of those that it has, and at least one."""
        rows, merges = self.tokens, []
        for _ in range(self.layers):
            merges.append(min(max(int(share * rows), 1), (rows - self.protected) // 2))
            rows -= merges[-1]
        return merges


class Merged(ReducedTokens):
    """Token merging."""

    title = "ToMe"
    paper = "Bolya et al., Token merging, ICLR 2023"
    knob = "share of the rows merged in each layer"
    sweep = (0.02, 0.04, 0.07, 0.11, 0.16, 0.25, 0.4)

    def settings(self) -> dict[str, Any]:
        """Without reuse."""
        return {"mode": "off", "reduction": {"method": "tome", "r": self.merged(self.setting)}}


class MergedCountedOnce(Merged):
    """Token merging as its authors run it on VideoMAE."""

    title = "ToMe, rows counted once"

    def settings(self) -> dict[str, Any]:
        """Without reuse."""
        settings = super().settings()
        settings["reduction"]["proportional_attention"] = False
        return settings


class MergedAcrossFrames(ReducedTokens):
    """VidToMe."""

    title = "VidToMe"
    paper = "after Li et al., VidToMe, CVPR 2024"
    knob = "share of the rows merged within chunks of 4 frames; 0.6 times that between chunks"
    sweep = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)

    def settings(self) -> dict[str, Any]:
        """Without reuse."""
        shares = {"local_ratio": self.setting, "global_ratio": 0.6 * self.setting}
        return {"mode": "off", "reduction": {"method": "vidtome", **shares}}


class Salient(ReducedTokens):
    """vid-TLDR."""

    title = "vid-TLDR"
    paper = "after Choi et al., vid-TLDR, CVPR 2024"
    knob = "share of the tokens merged in the first three layers"
    sweep = (0.1, 0.25, 0.4, 0.55, 0.65, 0.73)
    parts: ClassVar[tuple[float, ...]] = (6 / 9, 2 / 9, 1 / 9)

    def settings(self) -> dict[str, Any]:
        """Without reuse; the first layers share as in the paper, 600 : 200 : 100."""
        merges = [int(self.setting * part * self.tokens) for part in self.parts]
        return {"mode": "off", "reduction": {"method": "vid_tldr", "r": merges}}


class Pruned(ReducedTokens):
    """Pruning by attention."""

    title = "pruning by attention"
    paper = "Liang et al., EViT, ICLR 2022, without training"
    knob = "share of the rows kept in each of three layers"
    sweep = (0.9, 0.8, 0.7, 0.55, 0.4, 0.25, 0.1)

    def settings(self) -> dict[str, Any]:
        """Without reuse."""
        return {"mode": "off", "reduction": {"method": "pruning", "keep": self.setting}}


class Runs(ReducedTokens):
    """Run lengths of this package: measured from the start of a run, and counted."""

    title = "RLT, runs counted"
    paper = "after Choudhury et al., Don't look twice, NeurIPS 2024"
    knob = "threshold on normalised pixels"
    sweep = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8)

    def settings(self) -> dict[str, Any]:
        """Without reuse."""
        return {"mode": "off", "reduction": {"method": "run_length", "threshold": self.setting}}


class ReusedAndMerged(ReducedTokens):
    """Reuse, and token merging among what is computed."""

    title = "reuse and ToMe"
    knob = "threshold; 4 % of the rows merged in each layer"
    sweep: ClassVar[tuple[float, ...]] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.45, 0.7)
    share: ClassVar[float] = 0.04

    def settings(self) -> dict[str, Any]:
        """The share stays."""
        return {"threshold": self.setting, "reduction": {"method": "tome", "r": self.merged(self.share)}}


class ReusedAndPruned(ReducedTokens):
    """Reuse, and pruning by attention among what is computed."""

    title = "reuse and pruning"
    knob = "threshold; 80 % of the rows kept in each of three layers"
    sweep: ClassVar[tuple[float, ...]] = ReusedAndMerged.sweep

    def settings(self) -> dict[str, Any]:
        """The share stays."""
        return {"threshold": self.setting, "reduction": {"method": "pruning", "keep": 0.8}}


class ReusedAndMergedAcrossFrames(ReducedTokens):
    """Reuse, and merging across frames among what is computed."""

    title = "reuse and VidToMe"
    knob = "threshold; 20 % of the rows merged within chunks of 4 frames"
    sweep = ReusedAndMerged.sweep

    def settings(self) -> dict[str, Any]:
        """The share stays."""
        reduction = {"method": "vidtome", "local_ratio": 0.2, "global_ratio": 0.0}
        return {"threshold": self.setting, "reduction": reduction}


class ClipReusedAndMerged(ReusedAndMerged):
    """The same for clips, whose thresholds are larger."""

    sweep = (0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0, 1.4, 2.0)


class ClipReusedAndPruned(ReusedAndPruned):
    """The same for clips, whose thresholds are larger."""

    sweep = ClipReusedAndMerged.sweep
