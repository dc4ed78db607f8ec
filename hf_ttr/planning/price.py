"""What the computation of a token has to take off the error to be worth it."""

from __future__ import annotations

from typing import Any

import torch

from ..configuration import DEFAULT_THRESHOLD, TemporalReuseConfig


def prices_of_streams(
    config: TemporalReuseConfig,
    thresholds: torch.Tensor | None,
    batch: int,
    device: torch.device,
    default: float = DEFAULT_THRESHOLD,
) -> torch.Tensor:
    """
    The square of the threshold that is in force for each stream, a `torch.FloatTensor` of shape `(batch,)`.

    Args:
        config: the settings.
        thresholds (`torch.DoubleTensor` of shape `(batch,)`, *optional*): of the streams, instead of that of `config`.
        batch (`int`): number of streams.
        device: where to.
        default (`float`): the threshold where nothing is set.
    """
    if thresholds is None:
        return torch.full((batch,), config.effective_threshold(default) ** 2, dtype=torch.float32, device=device)
    # In double precision, like the square of a setting.
    return thresholds.square().to(device, torch.float32)


def check_thresholds(thresholds: Any, batch: int) -> torch.Tensor | None:
    """
    The thresholds of the streams of a call, as a `torch.DoubleTensor` of shape `(batch,)`.

    Raises:
        ValueError: if they are not one number above 0 for each stream; one sentence.
    """
    if thresholds is None:
        return None
    checked = torch.as_tensor(thresholds, dtype=torch.float64, device="cpu")
    if checked.shape != (batch,) or not bool((checked.isfinite() & (checked > 0)).all()):
        raise ValueError(
            f"thresholds is {checked.tolist()}, but must hold one number above 0 for each of the {batch} streams; "
            "leave it out for the threshold of the settings."
        )
    return checked
