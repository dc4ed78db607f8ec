"""Bidirectional planning: a clip, whose future is known."""

from __future__ import annotations

import torch

from ..configuration import TemporalReuseConfig


def choose_corners(features, reference, age, weights, grid, config):
    raise NotImplementedError
