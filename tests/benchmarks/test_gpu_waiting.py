"""Steps, clips and windows let the device run on; on the CPU what reads a tensor stands for what waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from benchmarks.gpu import waiting
from benchmarks.gpu.waiting import check_waiting
from hf_ttr.execution import packed
from hf_ttr.execution.graphs import Graphs
from hf_ttr.models import captured_clips, captured_steps, captured_windows
from hf_ttr.planning import bidirectional


CPU = torch.device("cpu")
READS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "cpu", "numpy")
VIT, VIDEOMAE = "temporal_reuse_vit", "temporal_reuse_videomae"
CALLS = {VIT: {"streams": 14, "clips": 1}, VIDEOMAE: {"windows": 2}}


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes that are on, the last one in force: in "error" no tensor can be read."""
    stack = ["default"]

    @contextmanager
    def sync_debug_mode(device: torch.device, mode: str) -> Iterator[None]:
        stack.append(mode)
        try:
            yield
        finally:
            stack.pop()

    def guarded(name: str) -> Any:
        own = getattr(torch.Tensor, name)

        def read(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            if stack[-1] == "error":
                raise RuntimeError("called a synchronizing CUDA operation")
            return own(tensor, *arguments, **options)

        return read

    monkeypatch.setattr(waiting, "sync_debug_mode", sync_debug_mode)
    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, guarded(name))
    # Attention's kernel takes the rows of each frame from the device; what stands for it here does not.
    monkeypatch.setattr(packed, "interpolated_attention", lambda query, *rest: query)
    # On the CPU alone tokens between corners are looked for.
    monkeypatch.setattr(bidirectional, "tokens_between", bidirectional.tokens_of_frames)
    return stack


@pytest.mark.parametrize("name", CALLS)
def test_no_call_waits_but_where_numbers_are_read(name: str, modes: list[str]) -> None:
    assert check_waiting(name, CPU, torch.float32) == {"calls": CALLS[name], "waits": {}, "passed": True}
    assert modes == ["default"]


@pytest.mark.parametrize(
    ("name", "owner", "method", "what"),
    [
        (VIT, captured_steps._Run, "result", "streams"),
        (VIT, captured_clips._Piece, "__call__", "clips"),
        (VIDEOMAE, captured_windows._Run, "result", "windows"),
    ],
    ids=["streams", "clips", "windows"],
)
def test_a_call_that_waits_fails_its_cell_and_nothing_else(
    name: str, owner: Any, method: str, what: str, modes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = getattr(owner, method)

    def waits(self: Any, given: Any) -> Any:
        bool(torch.ones(()) > 0)
        return own(self, given)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, waits)
        found = check_waiting(name, CPU, torch.float32)
    assert not found["passed"] and list(found["waits"]) == [what]
    assert "called a synchronizing CUDA operation" in found["waits"][what]
    assert modes == ["default"]
    assert check_waiting(name, CPU, torch.float32)["passed"]


class Refusing(Graphs):
    """A device on which nothing can be captured."""

    def capture(self, work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("name", CALLS)
def test_calls_that_go_the_usual_way_do_not_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "graphs_for", lambda device: Refusing())
    found = check_waiting(name, CPU, torch.float32)
    assert not found["passed"] and list(found["waits"]) == list(CALLS[name])
    assert all("operation not permitted" in why for why in found["waits"].values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU: what waits is looked for on a stand-in.")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_no_call_waits_for_a_gpu(name: str, dtype: torch.dtype) -> None:
    found = check_waiting(name, torch.device("cuda"), dtype)
    assert found["passed"], found["waits"]
    assert torch.cuda.get_sync_debug_mode() == 0
