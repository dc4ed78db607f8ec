"""What the engine says of streams is what the model says that is called by hand."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import hf_ttr
from hf_ttr.caching.snapshot import SnapshotError
from hf_ttr.streaming import Divergence, StreamEngine, StreamOptions, StreamResult

from ..tiny import tiny_parent, tiny_videomae
from .engines import KINDS, assert_same, frames_of, pixel_values, processor, run, scores, tiny_engine, tiny_model


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("frames", {}),
    ("frames", {"window": 4, "stride": 3}),
    ("frames", {"lookahead": 3}),
    ("windows", {}),
    ("windows", {"stride": 2}),
    ("windows", {"stride": 3}),
]
IDS = ["-".join([kind, *(f"{name}-{value}" for name, value in options.items())]) for kind, options in SETTINGS]


@torch.no_grad()
def test_frames_one_by_one_are_causal_calls() -> None:
    frames = frames_of(0, 13)
    engine = tiny_engine()
    engine.add("door")
    results = run(engine, "door", frames)
    model = tiny_model(mode="causal")
    cache, logits, shares = None, [], []
    for frame in pixel_values(frames)[0]:
        out = model(frame[None, None], past_key_values=cache)
        cache = out.past_key_values
        logits.append(out.logits[0])
        shares.append(out.reuse.computed_share.item())
    torch.testing.assert_close(scores(results), torch.stack(logits).softmax(-1), atol=1e-5, rtol=1e-4)
    assert [one.computed_share for one in results] == pytest.approx(shares)
    assert min(shares) < 0.5
    assert [(one.number, one.first_frame, one.last_frame, one.end) for one in results] == [
        (number, number, number, number / 25) for number in range(13)
    ]
    best = [max(one.labels, key=lambda entry: entry["score"]) for one in results]
    assert [(one.label, one.score) for one in results] == [(entry["label"], entry["score"]) for entry in best]


@torch.no_grad()
def test_lookahead_is_bidirectional_calls_of_that_many_frames_more() -> None:
    frames = frames_of(0, 14)
    engine = tiny_engine(lookahead=3, window=4, stride=2)
    engine.add("door")
    results = run(engine, "door", frames)
    model, cache, logits = tiny_model(), None, []
    for chunk in pixel_values(frames).split(4, dim=1):
        out = model(chunk, past_key_values=cache)
        cache = out.past_key_values
        logits += list(out.frame_logits[0])
    ends = [3, 5, 7, 9, 11, 13]
    expected = torch.stack([torch.stack(logits[end - 3 : end + 1]).mean(0) for end in ends])
    torch.testing.assert_close(scores(results), expected.softmax(-1), atol=1e-5, rtol=1e-4)
    assert [(one.first_frame, one.last_frame) for one in results] == [(end - 3, end) for end in ends]


@torch.no_grad()
def test_windows_are_calls_with_a_stride() -> None:
    frames = frames_of(0, 15)
    engine = tiny_engine("windows", stride=3)
    engine.add("door")
    results = run(engine, "door", frames)
    values, model, cache, logits = pixel_values(frames), tiny_model("windows"), None, []
    for end in (8, 11, 14, 15):
        stride = None if end == 8 else 3 if end < 15 else 1
        out = model(values[:, end - 8 : end], past_key_values=cache, stride=stride)
        cache = out.past_key_values
        logits.append(out.logits[0])
    torch.testing.assert_close(scores(results), torch.stack(logits).softmax(-1), atol=1e-5, rtol=1e-4)
    assert [one.last_frame for one in results] == [7, 10, 13, 14]


@pytest.mark.parametrize("kind, options", SETTINGS, ids=IDS)
def test_streams_start_stall_and_end_independently(kind: str, options: dict[str, Any]) -> None:
    streams = {f"camera {number}": frames_of(number, 12 + 3 * number) for number in range(5)}
    alone = {}
    for name, frames in streams.items():
        engine = tiny_engine(kind, **options)
        engine.add(name)
        alone[name] = run(engine, name, frames)
    engine, together = tiny_engine(kind, **options, batch_size=3), {name: [] for name in streams}
    position = dict.fromkeys(streams, -1)
    chance = random.Random(0)
    while any(not engine.is_finished(name) for name in engine.names) or min(position.values()) < 0:
        for name in streams:
            if position[name] < 0 and chance.random() < 0.2:
                engine.add(name)
                position[name] = 0
            elif 0 <= position[name] < len(streams[name]):
                for _ in range(chance.choice([0, 0, 1, 1, 2])):
                    if position[name] < len(streams[name]):
                        number = position[name]
                        engine.push(name, streams[name][number], index=number, time=number / 25)
                        position[name] += 1
            elif position[name] == len(streams[name]):
                engine.end(name)
        for result in engine.step():
            together[result.stream].append(result)
    for name in streams:
        assert_same(together[name], alone[name])


@pytest.mark.parametrize("cut", [1, 7, 8, 11])
@pytest.mark.parametrize("kind, options", SETTINGS, ids=IDS)
def test_a_snapshot_goes_on_elsewhere(kind: str, options: dict[str, Any], cut: int, tmp_path: Path) -> None:
    frames = frames_of(1, 16)
    options = {**options, "verify_every": 5, "max_divergence": 1e-4}
    whole, first, second = (tiny_engine(kind, **options) for _ in range(3))
    whole.add("gate")
    expected = run(whole, "gate", frames)
    first.add("other")
    first.add("gate")
    before: list[StreamResult] = []
    for number in range(cut):
        for name in ("gate", "other"):
            first.push(name, frames[number], index=number, time=number / 25)
        before += [one for one in first.step() if one.stream == "gate"]
    first.save("gate", tmp_path / "gate.safetensors")
    second.load("gate", tmp_path / "gate.safetensors")
    assert second.result_count("gate") == len(before)
    assert second.next_frame("gate") in (cut, cut - cut % 4)  # with a lookahead, what waited is looked at again
    after = run(second, "gate", frames, first=second.next_frame("gate"))
    assert_same(before + after, expected)


def test_a_snapshot_of_a_finished_stream(tmp_path: Path) -> None:
    engine, other = tiny_engine(), tiny_engine()
    engine.add("gate")
    run(engine, "gate", frames_of(0, 3))
    engine.save("gate", tmp_path / "gate.safetensors")
    other.load("gate", tmp_path / "gate.safetensors")
    assert other.is_finished("gate") and other.result_count("gate") == 3 and not other.is_ready


@pytest.mark.parametrize(
    "kind, seed, options, message",
    [
        ("frames", 1, {}, "is of another model; pass that model"),
        ("windows", 0, {}, "is of another model; pass that model"),
        ("frames", 0, {"window": 2}, "is of a stream with window None, which is 2 now; pass the same"),
        ("frames", 0, {"lookahead": 2}, "is of a stream with mode 'causal', which is 'bidirectional' now"),
        ("frames", 0, {"frame_sampling_rate": 2}, "is of a stream with frame_sampling_rate 1, which is 2 now"),
    ],
    ids=["weights", "class", "window", "lookahead", "sampling"],
)
def test_a_snapshot_that_does_not_fit(
    kind: str, seed: int, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "gate.safetensors"
    engine = tiny_engine()
    engine.add("gate")
    engine.push("gate", frames_of(0, 3)[0], index=0, time=0.0)
    engine.step()
    engine.save("gate", path)
    other = tiny_engine(kind, tiny_model(kind, seed), **options)
    with pytest.raises(SnapshotError, match=re.escape(f"the snapshot '{path}' {message}")):
        other.load("gate", path)
    assert other.names == []


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_dense_check_measures_and_renews(kind: str) -> None:
    frames = frames_of(1, 16)
    engine = tiny_engine(kind, verify_every=8)
    plain = tiny_engine(kind)
    for one in (engine, plain):
        one.add("door")
    results, unchecked = run(engine, "door", frames), run(plain, "door", frames)
    checked = [one.last_frame for one in results if one.divergence is not None]
    assert checked == [7, 15]
    values = pixel_values(frames)
    for one, without in zip(results, unchecked):
        if one.divergence is None:
            continue
        clip = values[:, one.last_frame : one.last_frame + 1] if kind == "frames" else values[:, one.first_frame :]
        dense = tiny_model(kind)(clip[:, :8], temporal_reuse={"mode": "off"}).logits[0].log_softmax(-1)
        # The result of a check is the dense one.
        torch.testing.assert_close(scores([one])[0], dense.exp(), atol=1e-5, rtol=1e-4)
        if one.last_frame == 7:
            got = scores([without])[0].log()
            assert one.divergence.kl == pytest.approx((dense.exp() * (dense - got)).sum().item(), abs=1e-5)
            assert one.divergence.same_label == (dense.argmax() == got.argmax()).item()
        assert one.multiply_adds > one.dense_multiply_adds * 0.9
    assert results[0].divergence != Divergence(0.0, True)
    assert engine.checks("door") == (2, 0)


def test_what_a_check_computed_is_what_the_stream_goes_on_from() -> None:
    frames = frames_of(1, 6)
    frames = [*frames, *[frames[-1]] * 4]
    engine = tiny_engine(verify_every=8)
    engine.add("door")
    results = run(engine, "door", frames)
    assert results[7].divergence is not None and results[7].divergence.kl > 1e-6
    # The same frame again: nothing but CLS is computed, and the answer is the dense one.
    assert [one.computed_share for one in results[8:]] == pytest.approx([1 / 37] * 2)
    torch.testing.assert_close(scores(results[8:]), scores([results[7]] * 2), atol=1e-5, rtol=1e-4)


def test_the_guard_holds_each_stream_on_its_own() -> None:
    still, moving = [frames_of(0, 1)[0]] * 41, frames_of(1, 41)
    engine = tiny_engine(verify_every=4, max_divergence=1e-6)
    for name in ("still", "moving"):
        engine.add(name)
    for number in range(41):
        engine.push("still", still[number], index=number, time=number / 25)
        engine.push("moving", moving[number], index=number, time=number / 25)
        results = {one.stream: one for one in engine.step()}
    assert results["still"].threshold == 0.3
    assert results["moving"].threshold is not None and results["moving"].threshold < 0.1
    assert engine.checks("still") == (12, 0) and engine.checks("moving")[1] > 1


def test_late_results_raise_the_threshold_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine(latency_budget_ms=100.0, max_threshold=0.5)
    engine.add("door")
    thresholds = []
    monkeypatch.setattr("hf_ttr.streaming.engine._now", lambda: 100.0)
    for number, frame in enumerate(frames_of(1, 90)):
        late = 0.5 if number < 61 else 0.01
        engine.push("door", frame, index=number, time=number / 25, arrival=100.0 - late)
        (result,) = engine.step()
        assert result.latency_ms == pytest.approx(1000 * late)
        thresholds.append(result.threshold)
    assert thresholds[0] == 0.3 and max(thresholds) == 0.5 and thresholds[60] == 0.5
    assert thresholds[:61] == sorted(thresholds[:61]) and thresholds[61:] == sorted(thresholds[61:], reverse=True)
    assert thresholds[-1] < 0.5


def test_the_dense_model_streams_too() -> None:
    frames = frames_of(0, 9)
    for kind in KINDS:
        engine = tiny_engine(kind, tiny_model(kind, mode="off"), stride=1)
        engine.add("door")
        results = run(engine, "door", frames)
        values, model = pixel_values(frames), tiny_model(kind, mode="off")
        windows = values[0].split(1) if kind == "frames" else [values[0, :8], values[0, 1:]]
        with torch.no_grad():
            expected = torch.cat([model(window[None]).logits for window in windows]).softmax(-1)
        torch.testing.assert_close(scores(results), expected, atol=1e-5, rtol=1e-4)
        assert {(one.computed_share, one.threshold) for one in results} == {(1.0, None)}
        assert engine.memory_bytes == 0


def test_every_so_many_th_frame_is_looked_at_and_others_are_not_even_converted() -> None:
    frames, looked_at = frames_of(0, 9), []
    engine = tiny_engine(frame_sampling_rate=4)
    engine.add("door")
    for number, frame in enumerate(frames):
        engine.push("door", lambda n=number, f=frame: (looked_at.append(n), f)[1], index=number, time=number / 25)
        engine.step()
    assert looked_at == [0, 4, 8] and engine.result_count("door") == 3


def test_a_change_of_resolution_goes_on() -> None:
    frames = frames_of(0, 4)
    engine = tiny_engine()
    engine.add("door")
    results = run(engine, "door", [*frames, *[frame.repeat(2, 0).repeat(3, 1) for frame in frames]])
    assert len(results) == 8


def test_removed_streams_leave_nothing() -> None:
    engine = tiny_engine()
    for name in ("a", "b"):
        engine.add(name)
        engine.push(name, frames_of(0, 1)[0], index=0, time=0.0)
    engine.step()
    both = engine.memory_bytes
    engine.remove("a")
    assert engine.names == ["b"] and engine.memory_bytes == both / 2
    engine.remove("b")
    assert engine.memory_bytes == 0
    engine.add("a")


def test_unknown_and_double_names() -> None:
    engine = tiny_engine()
    engine.add("a")
    with pytest.raises(ValueError, match="there is a stream 'a' already"):
        engine.add("a")
    for call in (engine.end, engine.remove, engine.wanted, engine.is_finished, engine.threshold):
        with pytest.raises(ValueError, match="there is no stream 'b'; the streams are a"):
            call("b")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"window": 0}, "window is 0, but must be a whole number of at least 1"),
        ({"stride": 1.5}, "stride is 1.5, but must be"),
        ({"lookahead": -1}, "lookahead is -1, but must be a whole number of at least 0"),
        ({"top_k": 0}, "top_k is 0"),
        ({"latency_budget_ms": 0}, "latency_budget_ms is 0, but must be a number above 0"),
        ({"max_divergence": 0.1}, "max_divergence is held by dense checks; say with verify_every"),
        ({"max_threshold": 0.1}, "max_threshold bounds what latency_budget_ms may do"),
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        StreamOptions(**options)


@pytest.mark.parametrize(
    "kind, settings, options, message",
    [
        ("windows", {}, {"window": 4}, "window is 4, but this model sees 8 frames at once"),
        ("windows", {}, {"lookahead": 1}, "lookahead is 1, but this model sees whole windows anyway"),
        ("frames", {"mode": "off"}, {"latency_budget_ms": 9}, "latency_budget_ms moves the threshold, which this"),
        (
            "frames",
            {"compute_budget": 0.2},
            {"verify_every": 5, "max_divergence": 0.1},
            "max_divergence moves the threshold",
        ),
        (
            "frames",
            {},
            {"latency_budget_ms": 9, "max_threshold": 0.2},
            "max_threshold is 0.2, but the model's threshold is 0.3",
        ),
    ],
    ids=["window", "lookahead", "off", "budget", "bound"],
)
def test_options_that_do_not_fit_the_model(
    kind: str, settings: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        StreamEngine(tiny_model(kind, **settings), processor(), StreamOptions(**options))


def parent_model(kind: str = "frames", **config: Any) -> Any:
    parent = tiny_parent(**config) if kind == "frames" else tiny_videomae(**config)
    return hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3})


@pytest.mark.parametrize(
    "problem, function",
    [("multi_label_classification", torch.sigmoid), ("regression", lambda logits: logits)],
    ids=["labels", "numbers"],
)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_scores_and_checks_follow_the_problem(kind: str, problem: str, function: Any) -> None:
    frames = frames_of(1, 8)
    model = parent_model(kind, problem_type=problem)
    engine, plain = (
        tiny_engine(kind, model, **options) for options in ({"verify_every": 8, "window": 8}, {"window": 8})
    )
    for one in (engine, plain):
        one.add("door")
    (checked,), (unchecked,) = run(engine, "door", frames), run(plain, "door", frames)
    values = pixel_values(frames)
    if kind == "windows":
        logits = model(values).logits[0]
        dense = model(values, temporal_reuse={"mode": "off"}).logits[0]
        torch.testing.assert_close(scores([unchecked])[0], function(logits), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(scores([checked])[0], function(dense), atol=1e-5, rtol=1e-4)
        if problem == "regression":
            expected = ((dense - logits) ** 2).sum() / 2
        else:
            yes, got = dense.sigmoid(), logits.sigmoid()
            expected = (yes * (yes / got).log() + (1 - yes) * ((1 - yes) / (1 - got)).log()).sum()
        assert checked.divergence is not None
        assert checked.divergence.kl == pytest.approx(expected.item(), abs=1e-5)
    else:
        cache, logits = None, []
        for frame in values[0]:
            out = model(frame[None, None], past_key_values=cache, temporal_reuse={"mode": "causal", "threshold": 0.3})
            cache = out.past_key_values
            logits.append(out.logits[0])
        # The mean of logits, as a call on all frames has it.
        torch.testing.assert_close(scores([unchecked])[0], function(torch.stack(logits).mean(0)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_that_are_no_numbers_end_a_stream_with_a_fault(kind: str) -> None:
    for options in ({}, {"verify_every": 1}):
        model = tiny_model(kind)
        with torch.no_grad():
            model.classifier.bias[2] = float("nan")
        engine = tiny_engine(kind, model, **options)
        engine.add("door")
        assert run(engine, "door", frames_of(0, 9)) == []
        assert re.fullmatch(
            r"The stream 'door' cannot be classified from frame \d+ on \(its scores are no numbers\); .*\.",
            str(engine.error("door")),
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ValueError, RuntimeError, MemoryError])
def test_a_fault_in_the_call_is_that_of_one_stream(kind: str, error: type[Exception]) -> None:
    """Calls of many streams fail, and so do those of the stream whose picture is white."""
    model = tiny_model(kind)
    inner = model.forward

    def forward(pixel_values: torch.Tensor, **options: Any) -> Any:
        if bool((pixel_values.amin((1, 2, 3, 4)) > 0.9).any()):
            raise error("this picture is too bright")
        return inner(pixel_values, **options)

    model.forward = forward
    engine = tiny_engine(kind, model, stride=2)
    white = torch.full((24, 24, 3), 255, dtype=torch.uint8).numpy()
    given = {"a": frames_of(0, 16), "bad": [*frames_of(1, 8), *[white] * 8], "b": frames_of(2, 16)}
    found: dict[str, list[StreamResult]] = {name: [] for name in given}
    for name in given:
        engine.add(name)
    for number in range(16):
        for name, frames in given.items():
            engine.push(name, frames[number], index=number, time=number / 25)
        for result in engine.step():
            found[result.stream].append(result)
    for name in ("a", "b"):
        alone = tiny_engine(kind, stride=2)
        alone.add(name)
        expected = [one for one in run(alone, name, given[name]) if one.number < len(found[name])]
        assert len(found[name]) > 4 and engine.error(name) is None
        if error is ValueError:
            # What is refused leaves everything as it was.
            assert_same(found[name], expected)
        assert [one.label for one in found[name]] == [one.label for one in expected]
    assert "(" + error.__name__ + ": this picture is too bright)" in str(engine.error("bad"))
    assert engine.is_finished("bad") or engine.step() == []
    assert len(found["bad"]) < len(found["a"])


def test_a_dense_check_is_in_the_snapshot(tmp_path: Path) -> None:
    frames = frames_of(1, 8)
    options = {"window": 8, "verify_every": 6}
    whole, first, second = (tiny_engine(**options) for _ in range(3))
    whole.add("gate")
    (expected,) = run(whole, "gate", frames)
    first.add("gate")
    for number in range(7):
        first.push("gate", frames[number], index=number, time=number / 25, dropped=3)
        first.step()
    first.save("gate", tmp_path / "a.safetensors")
    second.load("gate", tmp_path / "a.safetensors")
    (result,) = run(second, "gate", frames, first=7)
    assert result.divergence == expected.divergence is not None
    assert second.checks("gate") == (1, 0) and first.dropped("gate") == 3


def test_a_stream_that_failed_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    frames = frames_of(1, 14)
    for kind in KINDS:
        options = {"window": 4, "stride": 4} if kind == "frames" else {"stride": 4}
        engine, other = tiny_engine(kind, **options), tiny_engine(kind, **options)
        engine.add("gate")
        before = []
        for number in range(10):
            engine.push("gate", frames[number], index=number, time=number / 25)
            before += engine.step()
        engine.end("gate", failed=True)
        while not engine.is_finished("gate"):
            before += engine.step()
        engine.save("gate", tmp_path / "a.safetensors")
        other.load("gate", tmp_path / "a.safetensors")
        assert not other.is_finished("gate") and other.next_frame("gate") == 10
        # What was left over had its result, and has no other one without a new frame.
        again = tiny_engine(kind, **options)
        again.load("gate", tmp_path / "a.safetensors")
        assert run(again, "gate", [], first=0) == []
        after = run(other, "gate", frames, first=10)
        assert [one.number for one in before + after] == list(range(len(before + after)))
        assert after[-1].last_frame == 13


def changed(**change: Any) -> Any:
    """An engine that differs in one respect from `tiny_engine(window=2)`."""
    settings = change.pop("reuse", {})
    config = change.pop("config", {})
    parent = tiny_parent(**config)
    model = hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3, **settings})
    if change.pop("half", False):
        model = model.to(torch.bfloat16)
    if change.pop("buffer", False):
        model.register_buffer("mask", torch.ones(3))
    own = processor()
    for name, value in change.pop("processor", {}).items():
        setattr(own, name, value)
    return StreamEngine(model, own, StreamOptions(**{"window": 2, **change}))


@pytest.mark.parametrize(
    "change, name",
    [
        ({"reuse": {"max_age": 3}}, "max_age 24, which is 3 now"),
        ({"reuse": {"threshold": 0.2}}, "threshold 0.3, which is 0.2 now"),
        ({"reuse": {"saliency_weight": 0.0}}, "saliency_weight"),
        ({"reuse": {"context_weight": 0.1}}, "context_weight"),
        ({"reuse": {"scene_cut": 0.9}}, "scene_cut"),
        ({"reuse": {"reduction": {"method": "tome", "r": 2}}}, "reduction"),
        ({"processor": {"image_mean": [0.1, 0.1, 0.1]}}, "image_mean"),
        ({"processor": {"resample": 0}}, "resample"),
        ({"config": {"id2label": {number: f"other {number}" for number in range(5)}}}, "other labels"),
        ({"config": {"problem_type": "multi_label_classification"}}, "problem_type"),
        ({"config": {"layer_norm_eps": 0.1}}, "another config"),
        ({"half": True}, "is of another model|dtype"),
        ({"buffer": True}, "is of another model"),
        ({"stride": 1}, "stride"),
        ({"verify_every": 3}, "verify_every"),
        ({"latency_budget_ms": 3.0}, "latency_budget_ms"),
        ({"function_to_apply": "none"}, "function_to_apply"),
    ],
    ids=str,
)
def test_everything_on_which_results_depend_must_be_the_same(change: Any, name: str, tmp_path: Path) -> None:
    engine = changed()
    engine.add("gate")
    engine.push("gate", frames_of(0, 1)[0], index=0, time=0.0)
    engine.step()
    engine.save("gate", tmp_path / "a.safetensors")
    with pytest.raises(SnapshotError, match=name):
        changed(**change).load("gate", tmp_path / "a.safetensors")


def test_what_is_of_no_account_may_change(tmp_path: Path) -> None:
    engine = changed()
    engine.add("gate")
    engine.save("gate", tmp_path / "a.safetensors")
    changed(top_k=1, batch_size=3).load("gate", tmp_path / "a.safetensors")


def crafted(path: Path, about: dict[str, Any] | None = None, **tensors: torch.Tensor) -> None:
    """Changes a snapshot: its notes (`notes`), what is said of it, and its tensors, whose dots are `__`."""
    with safe_open(path, "pt") as file:
        metadata, content = dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    text = json.loads(metadata["about"])
    for name, value in (about or {}).items():
        if name in ("class", "layers", "owner", "notes", "streams.counts"):
            text[name] = value
        else:
            text["notes"][name] = value
    save_file(
        {**content, **{key.replace("__", "."): value.contiguous() for key, value in tensors.items()}},
        path,
        metadata={**metadata, "about": json.dumps(text)},
    )


CRAFTED: list[tuple[str, dict[str, Any], dict[str, torch.Tensor]]] = [
    *(
        ("frames", {name: value}, {})
        for name in ("track", "guard", "costs", "identity")
        for value in ("x", {}, [], None)
    ),
    *(
        ("frames", {name: value}, {})
        for name in ("results", "next_frame")
        for value in (-1, 1.5, "3", 10**30, True, None)
    ),
    ("frames", {"last_time": float("nan")}, {}),
    ("frames", {"finished": 1}, {}),
    ("frames", {"divergence": {"kl": -1.0, "same_label": True}}, {}),
    ("frames", {"costs": [1, 2, 3]}, {}),
    ("frames", {"track": {"frames": 2, "covered": 0, "seen": [[0, 0.0], [1, "x"]]}}, {}),
    ("frames", {"track": {"frames": 2**40, "covered": 0, "seen": []}}, {}),
    ("frames", {"notes": []}, {}),
    ("frames", {"owner": {}}, {}),
    ("frames", {"owner": "me"}, {}),
    ("frames", {"layers": 10**9}, {}),
    ("frames", {"layers": 2}, {}),
    ("frames", {"class": "TemporalReuseWindowCache"}, {}),
    ("frames", {"class": ["a"]}, {}),
    ("frames", {}, {"layers__0__keys": torch.zeros(3)}),
    ("frames", {}, {"layers__0__keys": torch.full((1, 4, 37, 8), float("nan"))}),
    ("frames", {}, {"layers__0__values": torch.zeros(1, 4, 37, 8, dtype=torch.float64)}),
    ("frames", {}, {"streams__age": torch.zeros(2, 2)}),
    ("frames", {}, {"streams__age": torch.full((1, 37), -5)}),
    ("frames", {}, {"streams__reference": torch.zeros(1, 9, 32)}),
    ("frames", {}, {"streams__debt": torch.full((1, 36), float("inf"))}),
    ("frames", {}, {"own__answers": torch.zeros(2, 7)}),
    ("frames", {}, {"own__answers": torch.full((2, 5), float("nan"))}),
    ("frames", {}, {"own__more": torch.zeros(2, 5)}),
    ("frames", {}, {"rows___last_layers": torch.zeros(1, dtype=torch.long)}),
    ("windows", {}, {"streams__left": torch.full((1, 4, 36), 10**6)}),
    ("windows", {}, {"streams__alpha": torch.full((1, 4, 36), 7.0)}),
    ("windows", {}, {"own__frames": torch.zeros(8, 3, 9, 9)}),
    ("windows", {"streams.counts": [10**9]}, {}),
    ("windows", {"streams.counts": "x"}, {}),
]


@pytest.mark.parametrize("kind, about, tensors", CRAFTED, ids=lambda value: str(value)[:40])
def test_a_crafted_snapshot_is_one_sentence(
    kind: str, about: dict[str, Any], tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    engine, other = (tiny_engine(kind, **({"window": 4} if kind == "frames" else {})) for _ in range(2))
    engine.add("gate")
    for number, frame in enumerate(frames_of(0, 2 if kind == "frames" else 8)):
        engine.push("gate", frame, index=number, time=number / 25)
        engine.step()
    engine.save("gate", path)
    tiny_engine(kind, **({"window": 4} if kind == "frames" else {})).load("gate", path)
    crafted(path, about, **tensors)
    with pytest.raises(SnapshotError) as caught:
        other.load("gate", path)
    assert str(caught.value).startswith(f"the snapshot '{path}' is ") and str(caught.value).endswith("to start anew.")
    assert other.names == [] and other.memory_bytes == 0


def test_labels_that_a_config_lacks() -> None:
    model = tiny_model()
    model.config.id2label = {1: "one"}
    engine = tiny_engine(model=model)
    engine.add("door")
    (result,) = run(engine, "door", frames_of(0, 1))
    assert {entry["label"] for entry in result.labels} == {"one", "LABEL_0", "LABEL_2", "LABEL_3", "LABEL_4"}


@pytest.mark.parametrize("index, time", [(0, float("nan")), (0, float("inf")), (-1, 0.0), (1.5, 0.0)])
def test_places_that_no_frame_has(index: Any, time: float) -> None:
    engine = tiny_engine()
    engine.add("door")
    with pytest.raises(ValueError, match="a frame has index .* and time .*; pass a whole number, and seconds"):
        engine.push("door", frames_of(0, 1)[0], index=index, time=time)
