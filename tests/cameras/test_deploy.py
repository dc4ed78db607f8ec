"""The files in deploy/: they fit together, and name what the service has."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


pytest.importorskip("pydantic", reason="pydantic is not installed; hf-ttr[cameras] brings it.")
pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed; hf-ttr[cameras] brings it.")

from ruamel.yaml import YAML

from hf_ttr.cameras.reading import read_settings
from hf_ttr.cameras.settings import MetricsSettings


ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = DEPLOY / "config" / "cameras.yaml"
PORT = MetricsSettings().port
OF_CAMERAS = (
    "hf_ttr_frames_received_total",
    "hf_ttr_frames_decoded_total",
    "hf_ttr_frames_classified_total",
    "hf_ttr_frames_dropped_total",
    "hf_ttr_fps",
    "hf_ttr_latency_seconds",
    "hf_ttr_computed_share",
    "hf_ttr_threshold",
    "hf_ttr_divergence",
    "hf_ttr_reconnections_total",
    "hf_ttr_state_changes_total",
    "hf_ttr_camera_up",
)
OF_DESTINATIONS = ("hf_ttr_events_waiting", "hf_ttr_events_dropped_total")


def load(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((DEPLOY / name).read_text())


def instructions() -> list[tuple[str, str]]:
    """Those of the Dockerfile, with continued lines as one."""
    lines = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in lines.splitlines() if line.strip()]


def unit() -> dict[str, list[str]]:
    """What the unit of systemd says, by key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", (DEPLOY / "hf-ttr-watch.service").read_text(), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_the_page_names_every_file() -> None:
    text = (DEPLOY / "README.md").read_text()
    files = {str(path.relative_to(DEPLOY)) for path in DEPLOY.rglob("*") if path.is_file()} - {"README.md"}
    assert set(re.findall(r"^\| \[.*?\]\((.*?)\)", text, re.MULTILINE)) == files


def test_the_settings_fit_the_container_and_the_unit() -> None:
    environment = dict(value.split("=", 1) for kind, text in instructions() if kind == "ENV" for value in text.split())
    watch = load("compose.yaml")["services"]["watch"]
    inside = read_settings(SETTINGS, {**environment, **watch["environment"]})
    assert inside.data == "/data" and inside.mqtt is not None and inside.mqtt.host in load("compose.yaml")["services"]
    assert inside.metrics is not None and (inside.metrics.host, inside.metrics.port) == ("0.0.0.0", PORT)
    # What systemd sets.
    outside = read_settings(SETTINGS, {"STATE_DIRECTORY": "/var/lib/hf-ttr", "CAMERA_PASSWORD": "x"})
    assert outside.data == f"/var/lib/{unit()['StateDirectory'][0]}" == unit()["WorkingDirectory"][0]
    assert outside.mqtt is not None and outside.mqtt.host == "localhost"
    assert outside.metrics is not None and outside.metrics.host == "127.0.0.1"


def test_the_image_runs_as_nobody_and_writes_into_one_folder() -> None:
    found = instructions()
    assert [kind for kind, _ in found].count("FROM") == 2
    last = dict(found)
    assert last["USER"].split(":")[0] not in ("0", "root") and last["VOLUME"] == "/data"
    assert last["EXPOSE"] == str(PORT) and f"http://127.0.0.1:{PORT}/healthz" in last["HEALTHCHECK"]
    assert json.loads(last["ENTRYPOINT"]) == ["hf-ttr"] and json.loads(last["CMD"])[0] == "watch"
    json.loads(last["HEALTHCHECK"].partition(" CMD ")[2])
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for kind, text in found:
        if kind == "COPY" and "--from" not in text:
            for name in text.split()[:-1]:
                assert (ROOT / name).exists() and f"!{name}" in sent
    watch = load("compose.yaml")["services"]["watch"]
    assert watch["read_only"] is True and watch["cap_drop"] == ["ALL"] and "data:/data" in watch["volumes"]
    assert json.loads(last["CMD"])[1] == "/etc/hf-ttr/cameras.yaml" and "./config:/etc/hf-ttr:ro" in watch["volumes"]


def test_nothing_is_published_beyond_the_machine() -> None:
    services = load("compose.yaml")["services"]
    assert {port for service in services.values() for port in service["ports"]} == {
        f"127.0.0.1:{PORT}:{PORT}",
        "127.0.0.1:1883:1883",
    }
    for service in services.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in load("compose.yaml")["volumes"]


def test_the_unit_reloads_and_does_not_try_again_with_wrong_settings() -> None:
    found = unit()
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"] and found["RestartPreventExitStatus"] == ["2"]
    assert found["NoNewPrivileges"] == ["yes"] and found["ProtectSystem"] == ["strict"]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed.")
    text = (DEPLOY / "hf-ttr-watch.service").read_text().replace("/opt/hf-ttr/bin/hf-ttr", "/bin/true")
    (tmp_path / "hf-ttr-watch.service").write_text(text)
    command = ["systemd-analyze", "verify", str(tmp_path / "hf-ttr-watch.service")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "hf-ttr-watch" not in done.stderr and done.returncode == 0, done.stderr


def test_prometheus_asks_where_the_service_answers() -> None:
    (job,) = load("prometheus.yaml")["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"localhost:{PORT}"]}]


def expressions() -> list[str]:
    """All that the dashboard asks Prometheus for."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return asked + [one["query"]["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    asked = re.findall(r"\bhf_ttr_\w+", " ".join(expressions()))
    # A histogram is asked for by its buckets.
    assert {name.removesuffix("_bucket") for name in asked} == {*OF_CAMERAS, *OF_DESTINATIONS}
    for text in expressions():
        if "destination" not in text and "events" not in text and "label_values" not in text:
            assert 'camera=~"$camera"' in text
        assert text.count("(") == text.count(")") and text.count("{") == text.count("}")


def test_panels_do_not_overlap() -> None:
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places) == len({panel["id"] for panel in panels})


def test_the_metrics_are_those_of_the_service() -> None:
    if importlib.util.find_spec("hf_ttr.cameras.metrics") is None:
        pytest.skip("hf_ttr.cameras has no metrics yet.")
    metrics = importlib.import_module("hf_ttr.cameras.metrics")
    assert set(OF_CAMERAS) == set(metrics.OF_CAMERAS) and set(OF_DESTINATIONS) <= set(metrics.OF_DESTINATIONS)
