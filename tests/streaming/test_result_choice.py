"""Which results are written, and what of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_ttr.streaming import ResultChoice, ResultFile, StreamResult, VideoStreams

from .engines import frames_of, tiny_engine
from .test_streams import of, sources


def result(number: int, label: str, score: float = 0.9, stream: str = "gate") -> StreamResult:
    labels = [{"label": label, "score": score}, {"label": "other", "score": 0.01}]
    at = "2026-01-02T03:04:05.678+01:00"
    return StreamResult(stream, number, number, number, number / 10, number / 10, labels, arrived_at=at)


LABELS = "aaaabbbbbaccccccccccc"
CHOICES: dict[str, tuple[dict[str, Any], list[int]]] = {
    "all": ({}, list(range(21))),
    "every": ({"every": 0.5}, [0, 5, 10, 15, 20]),
    "change": ({"on_change": True}, [0, 4, 9, 10]),
    "change-and-every": ({"on_change": True, "every": 0.45}, [0, 4, 9, 10, 15, 20]),
    "score": ({"min_score": 0.65}, [7, 8, 9, *range(17, 20)]),
    "score-and-change": ({"min_score": 0.65, "on_change": True}, [7, 9, 17]),
}


def numbered() -> list[StreamResult]:
    return [result(number, label, number % 10 / 10) for number, label in enumerate(LABELS)]


@pytest.mark.parametrize("choice, expected", CHOICES.values(), ids=CHOICES)
def test_which_are_taken(choice: dict[str, Any], expected: list[int]) -> None:
    chosen = ResultChoice(**choice)
    assert chosen.takes_all == (not choice)
    assert [one.number for one in numbered() if chosen.takes(one)] == expected


def test_each_stream_is_by_itself() -> None:
    chosen = ResultChoice(on_change=True)
    results = [result(0, "a"), result(0, "b", stream="yard"), result(1, "a"), result(1, "b", stream="yard")]
    assert [chosen.takes(one) for one in results] == [True, True, False, False]


@pytest.mark.parametrize("choice, expected", CHOICES.values(), ids=CHOICES)
@pytest.mark.parametrize("cut", [3, 9, 15])
def test_a_file_goes_on_as_if_it_had_not_stopped(
    choice: dict[str, Any], expected: list[int], cut: int, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    results = numbered()
    fields = ["arrived_at", "end", "label", "score"]
    with ResultFile(path, choice=ResultChoice(**choice, fields=fields)) as file:
        for one in results[:cut]:
            file.write(one)
    with ResultFile(path, resume=True, choice=ResultChoice(**choice, fields=fields)) as file:
        # Some come again, from the last snapshot on.
        for one in results[cut - 2 :]:
            file.write(one)
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["number"] for one in written] == expected
    assert all(list(one) == ["stream", "number", *fields] for one in written)


def test_a_line_of_few_fields_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    choice = {"fields": ["label"]}
    with ResultFile(path, choice=ResultChoice(**choice)) as file:
        file.write(result(0, "a"))
    whole = path.read_bytes()
    assert whole == b'{"stream": "gate", "number": 0, "label": "a"}\n'
    path.write_bytes(whole[:-3])
    with ResultFile(path, resume=True, choice=ResultChoice(**choice)) as file:
        file.write(result(0, "a"))
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "choice, message",
    [
        ({"every": 0}, "every is 0, but must be a number of seconds above 0."),
        ({"every": float("nan")}, "every is nan"),
        ({"min_score": "x"}, "min_score is 'x', but must be a number."),
        ({"fields": ["label", "colour"]}, "fields has 'colour', which no result has; the fields are stream, number"),
    ],
    ids=str,
)
def test_wrong_choices(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResultChoice(**choice)


def test_a_run_of_which_not_all_is_kept_goes_on(tmp_path: Path) -> None:
    """The snapshot is ahead of what was written, and that is as it should be."""
    frames = frames_of(0, 12)
    path, options = tmp_path / "a.jsonl", {"snapshots": tmp_path / "snapshots", "snapshot_every": 0.0}
    numbers = []
    for resume in (False, True):
        with ResultFile(path, resume, ResultChoice(every=0.2)) as file:
            kept = {name: one.number + 1 for name, one in file.last.items()}
            given: dict[str, Any] = {**options, "resume": resume, "kept": kept, "keeps_all": False}
            with VideoStreams(tiny_engine(), sources(a=frames), **given) as streams:
                for one in streams:
                    numbers.append(one.number)
                    file.write(one)
                    if one.number == 8 and not resume:
                        break
    assert numbers[:9] == list(range(9)) and numbers[-1] == 11 and len(numbers) <= 13
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [0, 5, 10]


def test_every_result_says_when_and_how_long(tmp_path: Path) -> None:
    frames = frames_of(0, 5)
    with VideoStreams(tiny_engine(), sources(a=frames)) as streams:
        results = of(list(streams), "a")
        statistics = streams.statistics["a"]
    moments = [one.arrived_at for one in results]
    assert None not in moments and moments == sorted(moments, key=str)
    assert all(StreamResult.from_dict(json.loads(json.dumps(one.to_dict()))) == one for one in results)
    for one in results:
        assert one.computing_ms > 0 and one.waiting_ms >= 0
        assert one.waiting_ms + one.computing_ms == pytest.approx(one.latency_ms)
    # They are there at once, so that the last ones wait for those before.
    assert results[4].waiting_ms > results[4].computing_ms
    assert statistics.waiting_ms == max(one.waiting_ms for one in results)
    assert statistics.computing_ms == max(one.computing_ms for one in results)


def test_the_latency_budget_is_not_for_the_queue_of_a_file() -> None:
    engine = tiny_engine(latency_budget_ms=5_000.0)
    for name, is_live in (("file", False), ("camera", True)):
        engine.add(name)
        for number, frame in enumerate(frames_of(0, 41)):
            engine.push(name, frame, index=number, time=number / 25, arrival=0.0, is_live=is_live)
            (one,) = engine.step()
            assert one.latency_ms > 5_000
        assert (engine.latency.factor > 1) == is_live
