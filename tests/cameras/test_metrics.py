"""What Prometheus scrapes is what was told, for the cameras that there are."""

from __future__ import annotations

import sys

import pytest

from hf_ttr.cameras import metrics as module
from hf_ttr.cameras.metrics import OF_CAMERAS, OF_DESTINATIONS, Metrics
from hf_ttr.cameras.store import Counts, StoreError


prometheus = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed.")


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """All samples by their name and the values of their labels."""
    from prometheus_client.parser import text_string_to_metric_families

    text = prometheus.generate_latest(metrics.registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_what_was_told_is_scraped() -> None:
    metrics = Metrics(lambda: {"mqtt": Counts(1, 2, 3, 4, 5)})
    metrics.frames("door", received=100, decoded=50, classified=40, dropped=10, reconnections=2, fps=4.5, up=True)
    metrics.result("door", latency_s=0.03, computed_share=0.25, threshold=0.1, divergence=0.01)
    metrics.result("door", latency_s=3.0, computed_share=0.5)
    metrics.state_changed("door")
    metrics.frames("yard", up=False)
    found = scraped(metrics)
    buckets = {key: value for key, value in found.items() if key[0] == "hf_ttr_latency_seconds_bucket"}
    assert {key: value for key, value in found.items() if key not in buckets} == {
        ("hf_ttr_frames_received_total", "door"): 100,
        ("hf_ttr_frames_decoded_total", "door"): 50,
        ("hf_ttr_frames_classified_total", "door"): 40,
        ("hf_ttr_frames_dropped_total", "door"): 10,
        ("hf_ttr_reconnections_total", "door"): 2,
        ("hf_ttr_fps", "door"): 4.5,
        ("hf_ttr_camera_up", "door"): 1,
        ("hf_ttr_camera_up", "yard"): 0,
        ("hf_ttr_computed_share", "door"): 0.5,
        ("hf_ttr_threshold", "door"): 0.1,
        ("hf_ttr_divergence", "door"): 0.01,
        ("hf_ttr_state_changes_total", "door"): 1,
        ("hf_ttr_state_changes_total", "yard"): 0,
        ("hf_ttr_latency_seconds_count", "door"): 2,
        ("hf_ttr_latency_seconds_sum", "door"): 3.03,
        ("hf_ttr_events_waiting", "mqtt"): 1,
        ("hf_ttr_events_delivered_total", "mqtt"): 2,
        ("hf_ttr_events_folded_total", "mqtt"): 3,
        ("hf_ttr_events_dropped_total", "mqtt"): 4,
        ("hf_ttr_events_given_up_total", "mqtt"): 5,
    }
    assert buckets["hf_ttr_latency_seconds_bucket", "door", "0.05"] == 1
    assert buckets["hf_ttr_latency_seconds_bucket", "door", "+Inf"] == 2


def test_a_camera_that_is_removed_vanishes() -> None:
    metrics = Metrics()
    for camera in ("door", "yard"):
        metrics.frames(camera, received=1)
        metrics.result(camera, latency_s=0.1, computed_share=1.0)
        metrics.state_changed(camera)
    metrics.remove("yard")
    metrics.remove("never there")
    assert {key[1] for key in scraped(metrics)} == {"door"}
    # One of the same name begins anew.
    metrics.frames("yard", received=1)
    assert scraped(metrics)["hf_ttr_state_changes_total", "yard"] == 0


def test_services_of_one_process_know_nothing_of_each_other() -> None:
    one, other = Metrics(), Metrics()
    one.frames("door", received=1)
    assert scraped(other) == {} and len(scraped(one)) == 2
    assert not any("hf_ttr" in line for line in prometheus.generate_latest().decode().splitlines())


def test_numbers_of_cameras_are_told_though_the_disk_cannot_be_read() -> None:
    def counts() -> dict[str, Counts]:
        raise StoreError("The file is damaged.")

    metrics = Metrics(counts)
    metrics.frames("door", received=1)
    assert scraped(metrics)["hf_ttr_frames_received_total", "door"] == 1


def test_each_name_is_a_constant_with_a_sentence() -> None:
    names = {value for value in vars(module).values() if isinstance(value, str) and value.startswith("hf_ttr_")}
    assert names == {*OF_CAMERAS, *OF_DESTINATIONS}
    assert all(sentence.endswith(".") for sentence in {**OF_CAMERAS, **OF_DESTINATIONS}.values())


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(
        ImportError, match=r"prometheus-client, which is not installed; pip install 'hf-ttr\[cameras\]'"
    ):
        Metrics()
