"""The long run of cameras: what it plans, what its pictures show, and how it judges what a service told."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

import hf_ttr
from benchmarks import camera_hours
from benchmarks.camera_hours import Past, cells, table
from benchmarks.camera_judge import Flow, Judged, Showing, Told, flows_of, judge
from benchmarks.camera_plan import QUICK, Pace, Watched, make_plan
from benchmarks.camera_scenes import BACKGROUNDS, LABELS, make_loops
from benchmarks.camera_service import Sample, Totals, longest_life, quantile
from benchmarks.table import as_markdown


SHOWN = [Showing("cat", 0, 20), Showing("dog", 20, 40), Showing("cat", 40, 60), Showing("cow", 60, 80)]
ALWAYS = [Flow(0, 80, 2.6)]


def told(*changes: tuple[str, float]) -> list[Told]:
    return [Told(f"door/{number}", label, at, at + 0.5) for number, (label, at) in enumerate(changes)]


def judged(changes: list[Told], flows: list[Flow] = ALWAYS, deaf: Any = ()) -> Judged:
    return judge({"door": SHOWN}, {"door": flows}, {"door": changes}, deaf)


ALL = (("cat", 0.1), ("dog", 20.1), ("cat", 40.1), ("cow", 60.1))


def test_each_change_that_was_told_is_found() -> None:
    found = judged(told(*ALL))
    assert (found.planted, found.due, found.told, found.missed, found.made_up, found.twice) == (4, 4, 4, [], [], 0)
    assert found.delays == pytest.approx([0.6] * 4)


def test_one_that_was_not_told_is_missed() -> None:
    found = judged(told(ALL[0], ALL[2], ALL[3]))
    assert found.missed == ["door was 'dog' from 20.0 to 40.0 s"]
    # Nothing has changed then, and that it is told all the same is not right either: the state was that already.
    assert judged(told(ALL[0], ALL[3])).missed == found.missed


@pytest.mark.parametrize("change", [("dog", 10.0), ("cow", 15.0), ("dog", 47.0), ("cat", 5.0)])
def test_one_that_was_not_shown_or_was_told_already_is_made_up(change: tuple[str, float]) -> None:
    found = judged(told(*ALL, change))
    assert len(found.made_up) == 1 and found.missed == []


def test_one_that_is_told_again_is_counted_and_no_other() -> None:
    changes = told(*ALL)
    again = Told("door/1", "dog", 20.1, 33.0)
    found = judged([*changes, again])
    assert (found.twice, found.told, found.made_up) == (1, 4, [])
    assert found.delays == pytest.approx([0.6] * 4)


@pytest.mark.parametrize(
    ("flows", "due"),
    [
        ([Flow(0, 22, 2.6), Flow(38, 80, 2.6)], 2),
        ([Flow(0, 23, 2.6), Flow(38, 80, 2.6)], 3),
        ([Flow(0, 22, 2.6), Flow(37, 80, 2.6)], 3),
        ([Flow(0, 80, 20.5)], 0),
        ([], 0),
    ],
)
def test_only_what_flowed_for_long_enough_is_due(flows: list[Flow], due: int) -> None:
    found = judged(told(ALL[0], ALL[3]), flows)
    # Where the dog was not told of, the cat was the state all the time.
    assert found.due == due and len(found.missed) == (due == 3) and found.made_up == []


def test_delays_are_of_changes_that_nothing_interrupted() -> None:
    assert judged(told(*ALL), [Flow(0, 21, 2.6), Flow(35, 80, 2.6)]).delays == pytest.approx([0.6] * 3)
    late = [Told("door/1", "dog", 20.1, 39.0) if one.label == "dog" else one for one in told(*ALL)]
    assert judged(late, deaf=[(30, 39)]).delays == pytest.approx([0.6] * 3)


def test_pictures_flow_between_what_breaks_them() -> None:
    needs = [(0.0, 2.6), (30.0, 3.0)]
    breaks = [(30, 45), (5, 10), (8, 12), (95, math.inf)]
    assert flows_of(0, 100, breaks, needs) == [Flow(0, 5, 2.6), Flow(12, 30, 2.6), Flow(45, 95, 3.0)]


def test_a_camera_may_be_lost_for_two_reasons_at_once() -> None:
    past = Past(needs=[(0.0, 2.6)])
    past.lose("service", 10)
    past.lose("camera", 12)
    past.find("service", 20)
    past.find("camera", 30)
    past.lose("camera", 50)
    assert past.flows(0, 60) == [Flow(0, 10, 2.6), Flow(30, 50, 2.6)]


@pytest.mark.parametrize(("seconds", "pace"), [(7200.0, Pace()), (30.0, QUICK)])
def test_a_plan_is_the_same_again_and_has_everything(seconds: float, pace: Pace) -> None:
    names = ["a", "b", "guest"]
    plan = make_plan(seconds, pace, names, LABELS, 7)
    assert plan == make_plan(seconds, pace, names, LABELS, 7) != make_plan(seconds, pace, names, LABELS, 8)
    assert [act.at for act in plan] == sorted(act.at for act in plan) and plan[-1].at < seconds
    assert {act.camera for act in plan if act.kind == "show" and act.at == 0} == {*names}
    for name in names:
        shows = [act for act in plan if act.kind == "show" and act.camera == name]
        for one, other in zip(shows, shows[1:]):
            assert other.value != one.value and other.at - one.at >= pace.shortest
        lost = [act.kind for act in plan if act.camera == name and act.kind != "show"]
        assert all(pair in (("stall", "flow"), ("break", "accept")) for pair in zip(lost[::2], lost[1::2]))
    reloads = [act.value for act in plan if act.kind == "reload"]
    assert len(reloads) >= 2 and [("guest" in value) for value in reloads[:2]] == [True, False]
    before = dict.fromkeys(names[:2], Watched())
    for value in reloads:
        assert sum(value[name] != before[name] for name in before) == 1
        before = {name: value[name] for name in before}
    kinds = [act.kind for act in plan]
    for kind in ("kill", "start", "receiver goes", "receiver comes"):
        assert kinds.count(kind) == 1  # type: ignore[arg-type]


def test_the_model_is_sure_of_every_scene() -> None:
    pytest.importorskip("skimage", reason="scikit-image is not installed.")
    model: Any = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(hf_ttr.example("vit-demo")).eval()
    processor: Any = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(hf_ttr.example("vit-demo"))
    for background in BACKGROUNDS:
        for label, loop in make_loops(background).items():
            frames = [np.asarray(PIL.Image.open(io.BytesIO(picture))) for picture in loop[::10]]
            assert not np.array_equal(frames[0], frames[1])
            pixels = processor(frames, do_sample_frames=False, return_tensors="pt").pixel_values
            with torch.inference_mode():
                scores = model(pixels, temporal_reuse={"mode": "off"}).frame_logits[0].softmax(-1)
            assert scores[:, model.config.label2id[label]].min() > 0.6, (background, label)


def test_counters_go_on_behind_a_restart() -> None:
    totals = Totals()

    def scraped(value: float, camera: str = "a") -> dict[tuple[str, str, str], float]:
        name = "hf_ttr_latency_seconds_bucket"
        return {("frames_total", camera, ""): value, (name, camera, "0.1"): value, (name, camera, "+Inf"): 2 * value}

    totals.take(scraped(100), counts=False)
    totals.take(scraped(130) | scraped(5, "b"))
    totals.take({})
    totals.take(scraped(140))
    totals.begin_anew()
    totals.take(scraped(150))
    totals.take(scraped(20))
    assert totals.total("frames_total") == 30 + 5 + 10 + 150 + 20
    assert totals.buckets == [(0.1, 215), (math.inf, 430)]


def test_quantiles_of_a_histogram() -> None:
    buckets = [(0.1, 50.0), (0.2, 90.0), (0.4, 98.0), (math.inf, 100.0)]
    assert [quantile(buckets, share) for share in (0.25, 0.5, 0.7, 0.94)] == pytest.approx([0.05, 0.1, 0.15, 0.3])
    assert quantile(buckets, 0.99) == 0.4 and quantile([], 0.5) is None and quantile([(0.1, 0.0)], 0.5) is None


def test_memory_is_of_the_process_that_lived_longest() -> None:
    samples = [Sample(at, 1 + (at > 2), 100.0, 9, at, 8) for at in range(10)]
    assert [one.at for one in longest_life(samples)] == [3, 4, 5, 6, 7, 8, 9]


def test_what_the_page_says() -> None:
    course = {"after_a_tenth": 500.2, "at_half": 510.0, "at_the_end": 512.0, "largest": 513.0}
    row = {
        **{"key": ["120 minutes"], "cameras": 8, "rtsp": 2, "stalls": 190, "breaks": 140, "reloads": 11},
        **{"planted": 1500, "due": 1234, "missed": 0, "made_up": 1, "twice": 2, "reconnections": 150.0},
        **{"delay_s": {"p50": 0.7, "p95": 0.9, "p99": 1.25}, "latency_s": {"p50": 0.03, "p95": 0.08, "p99": None}},
        **{"classified": 280000.0, "dropped": 70.0, "tokens_computed": 0.61, "core_share": 0.043},
        **{"resident_mib": course, "files": course},
    }
    text = as_markdown(table({"rows": [row]}))
    assert "| changes planted, and of them such that had to be told | 1,500, 1,234 |" in text
    assert "| missed, made up, told twice | 0, 1, 2 |" in text
    assert "| from change to receiver | 0.70, 0.90, 1.25 s (median, 95 %, 99 %) |" in text
    assert "| from picture to result | - |" in text and "4.3%" in text
    assert len([line for line in text.splitlines() if line.startswith("|")]) <= 12


def test_cells_hang_on_nothing_but_the_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [(cell.key, cell.settings) for cell in cells(False)]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(camera_hours, "has_gstreamer", lambda: False)
    assert [(cell.key, cell.settings) for cell in cells(False)] == before
    assert before[0][0] == "120 minutes" and next(iter(cells(True))).key == "0.5 minutes"
