"""Outputs of every patch, and maps made of them: a trained ViT-S/14 on real videos, with reuse and frame skipping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import lru_cache, partial
from math import exp, log
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch

import hf_ttr
from hf_ttr.models import skipping
from hf_ttr.models.dinov2.modeling_temporal_reuse_dinov2 import Dinov2Parts
from hf_ttr.planning import frame_skipping, planner
from hf_ttr.video import read_frames

from .common import kl_divergence, real_data
from .corners import linear_shares
from .curves import kl_at_cost
from .fidelity import described, videos
from .measures import timed
from .methods.base import Method
from .methods.frame_skipping import SHARES, evenly_spaced, interpolated
from .methods.frames import CHUNK
from .rates import FRAMES, clips_at
from .runner import Cell, Part
from .saliency import FOLDER, Decoder, load_saliency
from .table import Block, Table


RATES = {"own": 30, "5fps": 5}
"""What the sets are called, and the rates as `rates.clips_at` knows them."""
SAVINGS = (4, 8)
TRIED = (0.25, 0.125)
"""Budgets at which what was tried is measured."""
NEARER = 1.05
"""Distance over that of frame skipping from which on it counts as lost."""


class States(Method):
    """A way to run a `Dinov2Model`; what `run` returns are the states of all tokens, `(frames, tokens, hidden_size)`."""

    def dense(self, pixels: torch.Tensor) -> torch.Tensor:
        """The dense model on some frames; adds what they cost."""
        states = torch.cat([self.model(part).last_hidden_state for part in pixels.split(CHUNK)])
        tokens = states.shape[1]
        self.multiply_adds += Dinov2Parts().cost(self.model, tokens - 1).dense(len(pixels), tokens)
        return states


class DenseStates(States):
    """The dense model."""

    title = "dense"

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        return self.dense(pixels)


class Interpolated(States):
    """The dense model on evenly spaced frames; outputs between lie on straight lines."""

    title = "frame skipping, outputs interpolated"
    knob = "share of the frames computed"
    sweep = SHARES

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The chosen frames, and the others from them."""
        chosen = evenly_spaced(len(pixels), self.setting)
        states = self.dense(pixels[chosen])
        return interpolated(states.flatten(1), chosen, len(pixels)).unflatten(1, states.shape[1:])


class Held(Interpolated):
    """The same, but outputs stay as they are until the next frame that is computed."""

    title = "frame skipping, outputs held"

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """The chosen frames, and each again until the next one."""
        chosen = evenly_spaced(len(pixels), self.setting)
        last = torch.searchsorted(chosen, torch.arange(len(pixels)), right=True) - 1
        return self.dense(pixels[chosen])[last]


class Reused(States):
    """The whole clip in one call, with a threshold."""

    title = "reuse, by threshold"
    knob = "threshold"
    sweep = (0.1, 0.15, 0.2, 0.3, 0.45, 0.7)
    settings: dict[str, Any] = {}

    def __init__(self, model: Any, setting: float = 0.1) -> None:
        super().__init__(model, setting)
        knob = "threshold" if self.knob == "threshold" else "compute_budget"
        self.reuse: Any = hf_ttr.with_temporal_reuse(model, {knob: setting, **self.settings})

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """All frames."""
        output = self.reuse(pixels[None], use_cache=False)
        self.multiply_adds += int(output.reuse.multiply_adds)
        states: torch.Tensor = output.last_hidden_state[0]
        return states


class Budgeted(Reused):
    """The same with a share of the tokens; frames are left out whole where that is predicted to be nearer."""

    title = "reuse, within a budget"
    knob = "share of the tokens"
    sweep = (0.5, 0.35, 0.25, 0.18, 0.125, 0.09)


class TokensOnly(Budgeted):
    """The same, but no frame is left out."""

    title = "reuse, within a budget, no frame left out"
    settings = {"frame_skipping": False}
