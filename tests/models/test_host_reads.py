"""A call waits for the device as rarely as it can: what the host reads of a clip is counted on a stand-in."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.planning import bidirectional, frame_skipping

from ..tiny import make_clip, tiny_parent


READS = ("item", "__bool__", "__int__", "__float__", "nonzero", "cpu", "numpy", "tolist")


def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[int, ...]]]:
    """What the host reads of tensors from now on: how, and their shapes."""
    read: list[tuple[str, tuple[int, ...]]] = []

    def counted(name: str) -> Any:
        own = getattr(torch.Tensor, name)

        def read_tensor(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            read.append((name, tuple(tensor.shape)))
            return own(tensor, *arguments, **options)

        return read_tensor

    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    return read


@pytest.mark.parametrize(
    ("settings", "first"),
    [({"saliency_weight": 0}, 10), ({"saliency_weight": 0.5}, 9)],
    ids=["one-plan", "first-frame-alone"],
)
@pytest.mark.parametrize("limit", [{"compute_budget": 0.3}, {"threshold": 0.3}], ids=["budget", "threshold"])
def test_the_host_reads_whether_pixels_are_numbers_and_each_plan_once(
    settings: dict[str, Any], first: int, limit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = hf_ttr.with_temporal_reuse(
        tiny_parent(), {"mode": "bidirectional", "frame_skipping": False, **limit, **settings}
    )
    clip = make_clip(batch=2, frames=10)
    # What is done on devices other than the CPU.
    monkeypatch.setattr(bidirectional, "tokens_between", bidirectional.tokens_of_frames)
    with torch.no_grad():
        # The first call reads the weights as well, to tell them from others.
        cache = model(clip).past_key_values
        read = reads(monkeypatch)
        model(clip)
        # All pixels are numbers; the rows of each frame, and whether anything is interpolated.
        assert read == [("__bool__", ()), ("tolist", (2 * first + 2,))]
        read.clear()
        model(clip, past_key_values=cache)
        # Beside these, which of the streams are new, and whether all are.
        assert read == [("__bool__", ()), ("tolist", (2,)), ("__bool__", ()), ("tolist", (2 * 10 + 2,))]


@torch.no_grad()
def test_the_host_reads_once_which_frames_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hf_ttr.with_temporal_reuse(
        tiny_parent(), {"mode": "bidirectional", "compute_budget": 0.3, "saliency_weight": 0}
    )
    clip = torch.randn(2, 10, 3, 24, 24, generator=torch.Generator().manual_seed(0)).cumsum(1)
    # Half of the picture stands still, so that there is something to reuse in the frames that are kept.
    clip[..., 12:] = clip[:, :1, ..., 12:]
    # What is done on devices other than the CPU, where the host knows these numbers.
    monkeypatch.setattr(bidirectional, "tokens_between", bidirectional.tokens_of_frames)
    known = [array("q", kept.tolist()) for kept in frame_skipping.candidates(10, 0.3)]
    monkeypatch.setattr(frame_skipping, "candidates", lambda frames, budget: known)
    chosen = frame_skipping.choose_frames(clip, (6, 6), 0.3)
    kept = len(chosen[0])
    assert chosen[0] == chosen[1] and 3 < kept < 10
    model(clip)
    read = reads(monkeypatch)
    model(clip)
    # Before and after, all pixels are numbers; then the plan of the frames that are kept.
    assert read == [("__bool__", ()), ("tolist", (2,)), ("__bool__", ()), ("tolist", (2 * kept + 2,))]
