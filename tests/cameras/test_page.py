"""The page on cameras says what there is: settings that can be read, all metrics, topics, fields and settings."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest


pytest.importorskip("pydantic", reason="pydantic is not installed; hf-ttr[cameras] brings it.")
pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed; hf-ttr[cameras] brings it.")

from hf_ttr.cameras.events import StateChange
from hf_ttr.cameras.home_assistant import Place, discovery
from hf_ttr.cameras.metrics import OF_CAMERAS, OF_DESTINATIONS
from hf_ttr.cameras.problems import SettingsError
from hf_ttr.cameras.reading import read_settings
from hf_ttr.cameras.settings import CameraSettings, MqttSettings, ServiceSettings


TEXT = (Path(__file__).resolve().parents[2] / "docs" / "cameras.md").read_text()
FILES = [text for text in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL) if "cameras:" in text]


def rows(header: str) -> list[str]:
    """What stands in the first column of a table, in code."""
    table = re.search(rf"^\| {re.escape(header)} \|.*\n\|---.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None, header
    return [name for line in table[1].splitlines() for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


@pytest.mark.parametrize("text", FILES)
def test_files_of_the_page_can_be_used(text: str, tmp_path: Path) -> None:
    (tmp_path / "cameras.yaml").write_text(text)
    settings = read_settings(tmp_path / "cameras.yaml", {"CAMERA_PASSWORD": "1234"})
    assert all(camera.enabled for camera in settings.cameras.values())


def test_there_are_files_on_the_page() -> None:
    assert len(FILES) == 4


def test_what_a_wrong_file_gets_is_what_the_page_shows(tmp_path: Path) -> None:
    path = tmp_path / "cameras.yaml"
    camera = "  door: {source: rtsp://10.0.0.5/live, fp: 5, webhook: {uri: http://a/b}}"
    path.write_text(f"model: example:vit-demo\nmetricz: {{}}\ncameras:\n{camera}\n")
    with pytest.raises(SettingsError) as caught:
        read_settings(path)
    lines = [line.replace(f"{path}", "cameras.yaml") for line in caught.value.lines()]
    shown = re.findall(r"^cameras\.yaml:\d+:\d+: .*$", TEXT, re.MULTILINE)
    assert len(shown) == 3 and shown == lines[:3]


def test_all_settings_are_named() -> None:
    assert set(ServiceSettings.model_fields) <= {*rows("setting"), "snapshot_every_s"}
    assert set(rows("of a camera")) == set(CameraSettings.model_fields)
    (line,) = re.findall(r"^\| `mqtt` \|.*$", TEXT, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == {"mqtt", *MqttSettings.model_fields}


def test_all_metrics_and_fields_are_named() -> None:
    assert set(rows("metric, by `camera`")) == set(OF_CAMERAS)
    assert set(rows("metric, by `destination`")) == set(OF_DESTINATIONS)
    assert set(rows("field")) == {"id", *(field.name for field in fields(StateChange))}


def test_all_topics_are_named() -> None:
    messages = discovery([Place("door", None, ("a", "b"))], "hf_ttr", pictures=["door"])
    own = {f"hf_ttr/door/{name}" for name in ("available", "state", "picture", "event", "gate/state")}
    assert set(rows("topic")) == {"hf_ttr/available", *own, *messages}
