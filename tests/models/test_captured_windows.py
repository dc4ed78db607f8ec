"""Windows in steps of fixed shapes, without graphs: they compute what the usual way does, and no cache is lost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

import hf_ttr
from hf_ttr import TemporalReuseWindowCache
from hf_ttr.caching.snapshot import check_cache, load_cache, save_cache
from hf_ttr.execution.graphs import Graphs, NoGraphs
from hf_ttr.models import captured_windows
from hf_ttr.models.captured_steps import sizes_of_steps
from hf_ttr.models.captured_windows import QUERY_GROWTH, CapturedWindows, sizes_of_queries
from hf_ttr.models.window_model import WindowModel
from hf_ttr.planning.window_planner import WindowPlanner
from hf_ttr.planning.window_state import WindowState

from ..host_reads import lists_read
from ..tiny import make_clip, tiny_videomae


# The clips are noise, in which a wide neighbourhood finds a change everywhere.
SETTINGS: dict[str, Any] = {"threshold": 0.8, "context_weight": 0.1, "context_size": 3}
KEEPING: dict[str, Any] = {"window_weight": 0.0}
"""With which much is held from window to window."""
SLOTS = 144


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of any number of rows, so that nothing is filled up."""
    monkeypatch.setattr(
        captured_windows, "sizes_of_steps", lambda tokens, prefix, streams: list(range(1, tokens * streams))
    )


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each window that a model plans in the usual way."""
    calls: list[int] = []
    shared_times = WindowModel._shared_times

    def counted(model: Any, *arguments: Any) -> int:
        calls.append(1)
        return shared_times(model, *arguments)

    monkeypatch.setattr(WindowModel, "_shared_times", counted)
    return calls


def make(steps: bool, parent: dict[str, Any] | None = None, **settings: Any) -> Any:
    model = hf_ttr.with_temporal_reuse(tiny_videomae(**(parent or {})), {**SETTINGS, **settings})
    if steps:
        report = hf_ttr.optimize(model, frozen=True, graphs=True)
        assert "captured steps: on" in str(report)
    return model


def make_windows(count: int = 6, stride: int = 2, batch: int = 2, seed: int = 0) -> list[torch.Tensor]:
    """Windows of streams in which little happens, a scene cut in the first aside."""
    video = make_clip(batch, 8 + stride * (count - 1), seed=seed)
    return [video[:, stride * number : stride * number + 8] for number in range(count)]


@torch.no_grad()
def stream(
    model: Any, windows: Sequence[torch.Tensor], stride: int | None = 2, cache: Any = None, **asked: Any
) -> tuple[torch.Tensor, list[Any], Any]:
    """What the model says of each window, its reports, and the cache."""
    said, reports = [], []
    for window in windows:
        output = model(window, past_key_values=cache, stride=stride, **asked)
        cache = output.past_key_values
        said.append(output.logits if "logits" in output else output.last_hidden_state)
        reports.append(output.reuse)
    return torch.stack(said), reports, cache


def steps_of(model: Any) -> CapturedWindows:
    found: CapturedWindows = model.video_encoder.captured_steps
    assert not found.reason
    return found


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 3, 8, None])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        KEEPING,
        {**KEEPING, "mode": "causal"},
        {**KEEPING, "representative": "middle", "max_age": 2},
        {**KEEPING, "representative": "interpolate", "max_age": 3},
        {"compute_budget": 0.3, "threshold": None},
    ],
    ids=str,
)
def test_steps_are_what_the_usual_way_computes(
    exact: None, usual: list[int], settings: dict[str, Any], stride: int | None
) -> None:
    windows, model = make_windows(stride=stride or 2), make(True, **settings)
    expected, before, of_usual = stream(make(False, **settings), windows, stride)
    usual.clear()
    said, reports, cache = stream(model, windows, stride)
    assert len(usual) < len(windows) - 1
    assert steps_of(model).captured > 1
    assert_near(said, expected)
    for one, other in zip(reports, before):
        for name in other.keys() - {"plan", "maps", "computed_share"}:
            assert torch.equal(one[name], other[name]), name
    same_window(cache, of_usual)


def same_window(one: Any, other: Any) -> None:
    """Two caches hold the same for each slot, in whatever order their rows are."""
    states = one.streams, other.streams
    assert states[0].counts == states[1].counts
    for name in ("patches", "checksums", "alpha"):
        assert_near(getattr(states[0], name), getattr(states[1], name))
    for side in ("left", "right"):
        rows = [getattr(state, side) for state in states]
        for name in ("age", "row_slots", "change", "reference"):
            assert_near(*(getattr(state, name)[own].float() for state, own in zip(states, rows)))
        assert_near(one._output[rows[0]], other._output[rows[1]])
        for layer, second in zip(one.layers, other.layers):
            assert_near(layer.keys[:, :, rows[0]], second.keys[:, :, rows[1]])
            assert_near(layer.values[:, :, rows[0]], second.values[:, :, rows[1]])


@pytest.mark.parametrize("batch", [1, 3])
def test_every_token_and_the_first_one_are_those_of_the_usual_way(exact: None, batch: int) -> None:
    windows, parent = make_windows(batch=batch), {"use_mean_pooling": False}
    results = []
    for steps in (False, True):
        model = make(steps, parent)
        results.append([stream(part, windows)[0] for part in (model, model.videomae)])
    for one, other in zip(*results):
        assert_near(other, one)
    assert steps_of(model).captured > 2


def test_what_is_left_of_a_step_is_filled_with_tokens(usual: list[int]) -> None:
    windows, model = make_windows(8), make(True)
    cache, taken, sizes = None, 0, [0, *sizes_of_steps(SLOTS, 0, 2)]
    for window in windows:
        # Of the same state, once planned and once filled up.
        planned = stream(make(False), [window], 2, copy.deepcopy(cache), output_reuse_plan=True)[1][0]
        usual.clear()
        _, (report,), cache = stream(model, [window], 2, cache, output_reuse_plan=True)
        total = int(report.computed_tokens.sum())
        assert report.computed_tokens.tolist() == report.plan.flatten(1).sum(1).tolist()
        if not usual:
            taken += 1
            assert total in sizes
            assert total >= int(planned.computed_tokens.sum())
            assert (report.plan | ~planned.plan).all()
    assert taken > 3


def test_a_window_that_is_the_same_costs_what_planning_costs(usual: list[int]) -> None:
    (window,), model = make_windows(1), make(True)
    first = stream(model, [window])[2]
    usual.clear()
    _, (expected,), _ = stream(make(False), [window], None, copy.deepcopy(first))
    said, (report,), _ = stream(model, [window], None, first)
    assert len(usual) == 1
    assert report.computed_tokens.tolist() == [0, 0]
    assert torch.equal(report.multiply_adds, expected.multiply_adds)
    assert_near(said[0], stream(make(False), [window])[0][0])


def test_two_sets_of_streams_take_turns(exact: None) -> None:
    sets = [make_windows(), make_windows(seed=1)]
    model, plain = make(True), make(False)
    expected = [stream(plain, windows)[0] for windows in sets]
    caches: list[Any] = [None, None]
    found: list[list[torch.Tensor]] = [[], []]
    for time in range(len(sets[0])):
        for number, windows in enumerate(sets):
            said, _, caches[number] = stream(model, [windows[time]], 2, caches[number])
            found[number].append(said)
    for own, right in zip(found, expected):
        assert_near(torch.cat(own), right)
    assert steps_of(model).captured > 2


def copied(cache: Any, model: Any, windows: list[torch.Tensor]) -> Any:
    """The copy goes another way, which the cache does not see."""
    other = copy.deepcopy(cache)
    assert cache.streams.counts == other.streams.counts
    stream(model, windows[::-1], None, other)
    return cache


def snapped(cache: Any, path: Path) -> Any:
    save_cache(cache, path)
    return load_cache(path)[0]


CHANGES: dict[str, Callable[[Any, Any, list[torch.Tensor], Path], Any]] = {
    "copy": lambda cache, model, windows, path: copied(cache, model, windows),
    "reset": lambda cache, *_: cache.reset([1]) or cache,
    "reset all": lambda cache, *_: cache.reset() or cache,
    "reorder": lambda cache, *_: cache.reorder_cache(torch.tensor([1, 0])) or cache,
    "twice": lambda cache, *_: cache.batch_select_indices(torch.tensor([0, 0])) or cache,
    "apart": lambda cache, *_: type(cache).join([cache.take(torch.tensor([number])) for number in (0, 1)]),
    "snapshot": lambda cache, model, windows, path: snapped(cache, path),
    "offload": lambda cache, *_: cache.offload() or cache,
    "usual": lambda cache, model, windows, path: stream(make(False), windows[3:4], 2, cache)[2],
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_done_to_a_cache_between_steps_is_seen(exact: None, change: str, tmp_path: Path) -> None:
    windows, results = make_windows(7), []
    for steps in (False, True):
        model = make(steps)
        cache = stream(model, windows[:3])[2]
        assert cache.is_lent == steps
        cache = CHANGES[change](cache, model, windows, tmp_path / "cache.safetensors")
        assert not cache.is_lent
        # With no stride told, as streams may have changed places.
        results.append(stream(model, windows[4:], None, cache)[0])
    assert_near(results[1], results[0])


def test_a_snapshot_between_steps_is_one_of_a_stream(exact: None, tmp_path: Path) -> None:
    windows, model = make_windows(batch=1), make(True)
    cache = stream(model, windows[:4])[2]
    assert cache.is_lent
    save_cache(cache, tmp_path / "cache.safetensors")
    loaded: Any = load_cache(tmp_path / "cache.safetensors")[0]
    check_cache(loaded, model.config)
    same_window(loaded, stream(make(False), windows[:4])[2])


def test_windows_that_cannot_be_taken_go_the_usual_way(usual: list[int]) -> None:
    windows, model = make_windows(), make(True)
    cache = stream(model, windows[:3])[2]
    before = copy.deepcopy(cache)
    for window, stride, message in (
        (torch.full_like(windows[3], torch.nan), 2, "NaN"),
        (windows[0], 2, "does not go on"),
        (windows[3], 0, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            stream(model, [window], stride, cache)
        same_window(cache, before)
    usual.clear()
    _, (report,), cache = stream(model, [torch.randn_like(windows[0]) * 5], None, cache)
    assert len(usual) == 1
    assert report.computed_share.min() > 0.9
    usual.clear()
    stream(model, [windows[0]], None, None)
    assert len(usual) == 1


@pytest.mark.parametrize("asked", [
    {"output_hidden_states": True}, {"output_token_maps": True}, {"thresholds": torch.tensor([0.5, 0.6])},
    {"temporal_reuse": {"reduction": {"method": "tome", "r": 4}}}, {"temporal_reuse": {"threshold": 0}},
], ids=lambda asked: next(iter(asked)))  # fmt: skip
@torch.no_grad()
def test_what_asks_for_more_goes_the_usual_way(usual: list[int], asked: dict[str, Any]) -> None:
    windows, model = make_windows(), make(True)
    cache = stream(model, windows[:3])[2]
    plain = copy.deepcopy(cache)
    usual.clear()
    output = model(windows[3], past_key_values=cache, stride=2, **asked)
    assert len(usual) == 1
    assert_near(output.logits, make(False)(windows[3], past_key_values=plain, stride=2, **asked).logits)


def test_the_cache_of_another_model_is_refused() -> None:
    windows, model = make_windows(2), make(True)
    cache = stream(make(False, {"num_hidden_layers": 2}), windows)[2]
    with pytest.raises(ValueError, match="was filled with"):
        stream(model, windows, 2, cache)


def test_a_copy_of_a_model_has_no_steps() -> None:
    model = make(True)
    stream(model, make_windows(3))
    assert copy.deepcopy(model).video_encoder.captured_steps is None


class Failing(Graphs):
    """The first part of a step can be captured, and no second one, which has begun to write."""

    def __init__(self) -> None:
        self.captures = 0

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        work()
        if self.captures > 1:
            raise RuntimeError("operation not permitted when stream is capturing\nand a long story")
        return work


def test_what_cannot_be_captured_goes_the_usual_way() -> None:
    windows, model = make_windows(), make(True)
    model.video_encoder.captured_steps.graphs = Failing()
    expected = stream(make(False), windows)[0]
    assert_near(stream(model, windows)[0], expected)
    assert model.video_encoder.captured_steps.reason == (
        "Live streams go on the usual way, as their steps could not be captured: operation not permitted when stream "
        "is capturing."
    )


class Repeating(Graphs):
    """Runs work as often as CUDA graphs do before it is captured."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        for _ in range(4):
            work()
        return work


def test_work_that_is_run_more_than_once_does_the_same(exact: None) -> None:
    windows, model = make_windows(), make(True)
    model.video_encoder.captured_steps.graphs = Repeating()
    expected, _, before = stream(make(False), windows)
    said, _, cache = stream(model, windows)
    assert steps_of(model).captured > 2
    assert_near(said, expected)
    same_window(cache, before)


def test_steps_go_on_in_inference_mode(exact: None) -> None:
    windows, results = make_windows(), []
    for steps in (False, True):
        model = make(steps)
        with torch.inference_mode():
            said, _, cache = stream(model, windows[:4])
        results.append(torch.cat([said, stream(model, windows[4:], 2, cache)[0]]))
    assert_near(results[1], results[0])


def test_half_precision_takes_steps(usual: list[int]) -> None:
    windows = [window.bfloat16() for window in make_windows()]
    expected = stream(make(False).bfloat16(), windows)[0]
    model = make(False).bfloat16()
    hf_ttr.optimize(model, frozen=True, graphs=True)
    usual.clear()
    said = stream(model, windows)[0]
    assert len(usual) < len(windows) - 1
    torch.testing.assert_close(said.float(), expected.float(), rtol=0.1, atol=0.1)


def test_the_host_reads_four_numbers_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, model = make_windows(), make(True)
    cache = stream(model, windows[:4])[2]
    assert cache.is_lent
    captured_runs = captured_windows._Run

    def without_a_copy(steps: Any, size: int, queries: int, cache: Any) -> Any:
        run = steps.runs[size, queries] = captured_runs(steps, size, queries)
        return run

    # Only once for each size: what the cache holds is copied before its run is captured.
    monkeypatch.setattr(captured_windows._Steps, "_new_run", without_a_copy)
    read = lists_read(monkeypatch)
    for window in windows[4:]:
        with torch.no_grad():
            cache = model(window, past_key_values=cache, stride=2).past_key_values
    assert read == [(4,), (4,)]


class OnMeta(TorchDispatchMode):
    """Where nothing has any numbers: the host can ask for none, and a tensor from elsewhere is found out."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tensors = [part for part in tree_leaves((args, kwargs, result)) if isinstance(part, torch.Tensor)]
        assert all(tensor.device.type == "meta" for tensor in tensors), function
        return result


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"mode": "causal", "compute_budget": 0.3}], ids=str)
@torch.no_grad()
def test_nothing_comes_to_a_graph_from_the_host(
    settings: dict[str, Any], batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(True, **settings)
    windows = make_windows(3, batch=batch)
    body, cache = model.videomae, stream(model, windows[:2])[2]
    held, layers, output = (tree_map_only(torch.Tensor, lambda part: part.to("meta"), part) for part in (
        vars(cache.streams), [(layer.keys, layer.values) for layer in cache.layers], cache._output
    ))  # fmt: skip
    elsewhere = TemporalReuseWindowCache(3)
    elsewhere.take_back(WindowState(**held), layers, output)
    planner = WindowPlanner(hf_ttr.TemporalReuseConfig(**{**SETTINGS, **settings}), (6, 6), first_is_read=True)
    body.to("meta")
    steps = captured_windows._Steps(body, NoGraphs(), windows[2].to("meta"), elsewhere, 2, planner, steps_of(model))
    monkeypatch.setattr(torch, "tensor", None)
    with OnMeta():
        steps._look()
        for size, queries in ((40, 40 if batch == 1 else 24), (0, 0)):
            captured_windows._Run(steps, size, queries)._work()


@pytest.mark.parametrize("slots", [1, 16, 100, 1568])
def test_queries_are_padded_to_a_few_sizes_up_to_all_slots(slots: int) -> None:
    sizes = sizes_of_queries(slots)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == slots
    assert len(sizes) <= 13
    assert all(after <= QUERY_GROWTH * before + 1 for before, after in zip(sizes, sizes[1:]))


def test_models_without_steps_say_nothing_of_them() -> None:
    from scripts.make_supported_table import tiny_config

    model = hf_ttr.TemporalReuseVJEPA2ForVideoClassification(tiny_config(hf_ttr.TemporalReuseVJEPA2Config))
    assert "captured steps" not in str(hf_ttr.optimize(model.eval(), frozen=True, graphs=True))
