"""The JSON schema of the settings: the committed one is what is made, and takes and refuses what reading does."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest


pytest.importorskip("pydantic", reason="pydantic is not installed; hf-ttr[cameras] brings it.")
pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed; hf-ttr[cameras] brings it.")

from ruamel.yaml import YAML

from hf_ttr import TemporalReuseConfig
from hf_ttr.cameras.problems import SettingsError
from hf_ttr.cameras.reading import read_settings
from hf_ttr.cameras.schema import json_schema, write_schema
from hf_ttr.cameras.settings import ServiceSettings, Settings

from .test_reading import EXAMPLE, switched_on


ROOT = Path(__file__).resolve().parents[2]
MADE = ROOT / "docs" / "cameras.schema.json"


@pytest.fixture(scope="module")
def valid() -> Any:
    """Whether the committed schema takes a text."""
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed: `pip install jsonschema`.")
    schema = json.loads(MADE.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    return lambda text: validator.is_valid(YAML(typ="safe", pure=True).load(text))


def parts(schema: Any) -> list[dict[str, Any]]:
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    return [part for one in inner for part in parts(one)] + ([schema] if isinstance(schema, dict) else [])


def test_the_committed_schema_is_what_the_script_writes(tmp_path: Path) -> None:
    write_schema(tmp_path / "made.json")
    assert (tmp_path / "made.json").read_text() == MADE.read_text()
    spec = importlib.util.spec_from_file_location("make_cameras_schema", ROOT / "scripts" / "make_cameras_schema.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.FILE == MADE


def test_every_setting_says_what_it_is_for() -> None:
    schema = json_schema()
    assert schema["properties"].keys() == ServiceSettings.model_fields.keys()
    assert (
        schema["properties"]["temporal_reuse"]["properties"].keys() == TemporalReuseConfig().settings_to_dict().keys()
    )
    for part in parts(schema):
        for name, setting in part.get("properties", {}).items() if isinstance(part.get("properties"), dict) else ():
            if "properties" not in part.get("properties", {}):
                assert setting.get("description") or "$ref" in setting, name
    models = {model.__name__ for model in Settings.__subclasses__()}
    assert set(schema["definitions"]) == models - {"ServiceSettings"}


def test_references_lead_somewhere_and_nothing_is_secret_to_editors() -> None:
    schema = json_schema()
    found = {part["$ref"] for part in parts(schema) if "$ref" in part}
    assert found and found <= {f"#/definitions/{name}" for name in schema["definitions"]}
    assert not [part for part in parts(schema) if "writeOnly" in part or part.get("format") == "password"]


@pytest.mark.parametrize(
    "path", [EXAMPLE, *sorted((ROOT / "deploy").rglob("cameras.yaml"))], ids=lambda path: path.name
)
def test_the_examples_are_valid_and_name_the_schema(path: Path, valid: Any) -> None:
    assert valid(path.read_text())
    header = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert header is not None and (path.parent / header[1]).resolve() == MADE


def test_all_that_the_example_switches_off_is_valid(valid: Any) -> None:
    assert valid(switched_on(EXAMPLE.read_text()))


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("model: m\ncameras: {a: {source: x}}", True),
        ("model: m\ncameras: {a: {source: x, fps: '${FPS:-5}', picture: true, zones: {z: [0, 0, 1, 1]}}}", True),
        ("model: m\nmqtt: {host: h, tls: {ca_file: a}}\ncameras: {a: {source: x}}", True),
        ("model: m\ncameras: {a: {source: x, zones: {z: {crop: [0, 0, 1, 1]}}}}", True),
        ("model: m\ndtype: '${DTYPE}'\nmetrics:\ncameras: {a: {source: x}}", True),
        ("model: m\ncameras: {}", False),
        ("cameras: {a: {source: x}}", False),
        ("model: m\ncameras: {a b: {source: x}}", False),
        ("model: m\ncameras: {a: {source: x, fsp: 3}}", False),
        ("model: m\ncameras: {a: {source: x, fps: 0}}", False),
        ("model: m\ncameras: {a: {source: x, fps: 'five'}}", False),
        ("model: m\ncameras: {a: {source: x, crop: [0, 0, 640, 480]}}", False),
        ("model: m\nlabels: [a]\ncameras: {a: {source: x}}", False),
        ("model: m\ndtype: int8\ncameras: {a: {source: x}}", False),
        ("model: m\ntemporal_reuse: {mode: bidirectional}\ncameras: {a: {source: x}}", False),
        ("model: m\nmqtt: {host: h, port: 70000}\ncameras: {a: {source: x}}", False),
    ],
)  # fmt: skip
def test_the_schema_takes_and_refuses_what_reading_does(text: str, is_valid: bool, valid: Any, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    environment = {"FPS": "3", "DTYPE": "float32"}
    assert valid(text) == is_valid
    if is_valid:
        read_settings(tmp_path / "a.yaml", environment)
    else:
        with pytest.raises(SettingsError):
            read_settings(tmp_path / "a.yaml", environment)
