"""A call waits for the device as rarely as it can: what the host reads of a clip is counted on a stand-in."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import hf_ttr
from hf_ttr.planning import bidirectional

from ..tiny import make_clip, tiny_parent


READS = ("item", "__bool__", "__int__", "__float__", "nonzero", "cpu", "numpy", "tolist")


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
    clip, read = make_clip(batch=2, frames=10), []
    # What is done on devices other than the CPU.
    monkeypatch.setattr(bidirectional, "tokens_between", bidirectional.tokens_of_frames)

    def counted(name: str) -> Any:
        own = getattr(torch.Tensor, name)

        def read_tensor(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            read.append((name, tuple(tensor.shape)))
            return own(tensor, *arguments, **options)

        return read_tensor

    with torch.no_grad():
        # The first call reads the weights as well, to tell them from others.
        cache = model(clip).past_key_values
        for name in READS:
            monkeypatch.setattr(torch.Tensor, name, counted(name))
        model(clip)
        # All pixels are numbers; the rows of each frame, and whether anything is interpolated.
        assert read == [("__bool__", ()), ("tolist", (2 * first + 2,))]
        read.clear()
        model(clip, past_key_values=cache)
        # Beside these, which of the streams are new, and whether all are.
        assert read == [("__bool__", ()), ("tolist", (2,)), ("__bool__", ()), ("tolist", (2 * 10 + 2,))]
