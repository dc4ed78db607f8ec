"""A YAML file of settings: read as it is meant, and with every problem of it at once, in its place."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest


pytest.importorskip("pydantic", reason="pydantic is not installed; hf-ttr[cameras] brings it.")
pytest.importorskip("ruamel.yaml", reason="ruamel.yaml is not installed; hf-ttr[cameras] brings it.")

from hypothesis import given
from hypothesis import strategies as st

import hf_ttr
from hf_ttr.cameras.environment import fill_in
from hf_ttr.cameras.problems import WEBHOOK_KEYS, Problem, SettingsError, key_text
from hf_ttr.cameras.reading import MOST_BYTES, read_settings
from hf_ttr.cameras.settings import ServiceSettings, WebhookSettings


EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cameras.yaml"
SECRET = "Xq7-secret-9"
HEAD = "model: some/model\nlabels: [a, b]\n"
# Few lines that stand for 8 to the power of 10 values.
ALIASES = "x: &a [1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"x{one}: &{one} [{', '.join([f'*{before}'] * 8)}]\n" for before, one in zip("abcdefghi", "bcdefghij")
)
DOOR = "cameras:\n  door:\n    source: rtsp://10.0.0.5/stream\n"


def read(folder: Path, text: str | bytes, **environment: str) -> ServiceSettings:
    path = folder / "cameras.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_settings(path, environment)


def problems(folder: Path, text: str | bytes, **environment: str) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        read(folder, text, **environment)
    assert SECRET not in f"{caught.value}{caught.value!r}{caught.value.problems}{caught.value.lines()}"
    for one in caught.value.problems:
        assert one.sentence.endswith((".", "?")) and "\n" not in one.sentence and "pydantic" not in one.sentence
    return caught.value.problems


def only(folder: Path, text: str | bytes, **environment: str) -> tuple[int, int, str, str]:
    (one,) = problems(folder, text, **environment)
    return one.line, one.column, one.key, one.sentence


def at(text: str, problem: Problem) -> str:
    """The word at the place of a problem."""
    return text.splitlines()[problem.line - 1][problem.column - 1 :].split()[0]


def test_the_example_is_read() -> None:
    settings = read_settings(EXAMPLE, {})
    assert settings.model == hf_ttr.example("vit-demo")
    assert settings.cameras["shuttle"].source.get_secret_value() == hf_ttr.example("demo.mp4")
    assert settings.data == str(EXAMPLE.parent / "hf-ttr-data")


def switched_on(text: str) -> str:
    """The example with all that is switched off in it."""
    head, _, body = text.partition("\nmodel:")
    lines = [line[1:] if line.startswith("#") else line for line in f"model:{body}".splitlines()]
    assert sum(line.startswith("model:") for line in lines) == 2
    return head + "\n".join(["", *lines[1:]])


def test_all_that_the_example_switches_off_is_right_and_nothing_is_missing(tmp_path: Path) -> None:
    names = ("CAMERA_PASSWORD", "MQTT_PASSWORD", "WEBHOOK_ID", "WEBHOOK_TOKEN")
    text = switched_on(EXAMPLE.read_text())
    settings = read(tmp_path, text, **dict.fromkeys(names, SECRET))
    door, mqtt = settings.cameras["door"], settings.mqtt
    assert door.webhook is not None and mqtt is not None and mqtt.tls is not None
    assert door.source.get_secret_value() == f"rtsp://user:{SECRET}@10.0.0.5/stream"
    assert door.webhook.headers["Authorization"].get_secret_value() == f"Bearer {SECRET}"
    assert SECRET not in f"{settings!r}{settings}{settings.as_shown()}"
    # Whoever adds a setting shows it here, too.
    for part in (settings, mqtt, settings.metrics, door, door.webhook, settings.cameras["shuttle"].picture):
        assert part is not None
        for name in type(part).model_fields:
            assert f"{name}:" in text, name


def test_a_mode_may_be_off_and_a_camera_may_be_called_on(tmp_path: Path) -> None:
    settings = read(tmp_path, "model: m\ntemporal_reuse: {mode: off}\ncameras:\n  on: {source: x}\n  1: {source: x}\n")
    assert settings.temporal_reuse == {"mode": "off"} and list(settings.cameras) == ["on", "1"]


def test_variables_of_the_environment(tmp_path: Path) -> None:
    text = (
        "model: ${MODEL:-some/model}\nbatch_size: ${SIZE}\nmqtt:\n  host: h\n  username: me\n  password: ${PASSWORD}\n"
        'cameras:\n  door: {source: "rtsp://me:${PASSWORD}@h/$$x$y", fps: "${FPS:-2.5}", enabled: "${ON}"}\n'
    )
    settings = read(tmp_path, text, SIZE="4", PASSWORD="0123", ON="false")
    door, mqtt = settings.cameras["door"], settings.mqtt
    assert (settings.model, settings.batch_size, door.fps, door.enabled) == ("some/model", 4, 2.5, False)
    assert door.source.get_secret_value() == "rtsp://me:0123@h/$x$y" and str(door.source) == "rtsp://h/$x$y"
    assert mqtt is not None and mqtt.password is not None and mqtt.password.get_secret_value() == "0123"
    assert read(tmp_path, text, MODEL="other", SIZE="4", PASSWORD="0123", ON="true", FPS="").cameras["door"].fps == 2.5


def test_the_environment_is_that_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cameras.yaml").write_text(f"model: ${{HF_TTR_TEST_MODEL}}\n{DOOR}")
    monkeypatch.setenv("HF_TTR_TEST_MODEL", SECRET)
    settings = read_settings(tmp_path / "cameras.yaml")
    assert settings.model == SECRET and "model='${HF_TTR_TEST_MODEL}'" in repr(settings)


def test_a_missing_variable_is_a_problem_in_its_place(tmp_path: Path) -> None:
    text = (
        f"{HEAD}mqtt: {{host: '${{HOST}}', port: '${{PORT}}'}}\n{DOOR}    fps: ${{A}}${{B}}\n    timeout_s: ${{PORT\n"
    )
    found = [(one.line, one.column, one.key, one.sentence) for one in problems(tmp_path, text, PORT=SECRET)]
    assert found == [
        (3, 14, "mqtt.host", "mqtt.host needs the environment variable HOST, which is not set; set it, or write "
         "${HOST:-default} with a default."),
        (3, 31, "mqtt.port", "mqtt.port is '${PORT}', but must be a whole number from 1 to 65535."),
        (7, 10, "cameras.door.fps", "cameras.door.fps needs the environment variable A, B, which is not set; set it, "
         "or write ${A:-default} with a default."),
        (8, 16, "cameras.door.timeout_s", "cameras.door.timeout_s has a ${ without the name of a variable; write "
         "${NAME}, or $${ for these two characters."),
    ]  # fmt: skip


@given(st.text(st.sampled_from("$${}:-ABx "), max_size=12))
def test_what_names_no_variable_stays_as_it_is(text: str) -> None:
    assert fill_in(text.replace("$", "$$"), {}) == text
    try:
        filled = fill_in(text, dict.fromkeys(("A", "B", "x"), SECRET))
    except ValueError as error:
        assert "${" in str(error) and SECRET not in str(error)
    else:
        assert SECRET not in repr(filled)


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = f"""\
modell: x
labels: [a, b]
dtype: int8
temporal_reuse: {{mode: off, threshold: -1}}
batch_size: true
max_divergence: 0.3
mqtt: {{host: "mqtt://x", port: 70000, password: {SECRET}}}
cameras:
  door:
    source: "ftp://${{PW}}/x"
    fps: "${{PW}}"
    crop: [0, 0, 640, 480]
    labels: [a, c]
    zones: {{z: [0, 0, 0, 1], y: {{crop: [0, 0, 1, 1], labels: [b]}}}}
    webhook: {{url: "ftp://${{PW}}", headers: {{A: 3}}}}
    states:
  yard: {{fsp: 3, states: {{agree: 0}}, picture: {{quality: 99}}}}
  door: {{source: x}}
  my cam: {{source: [{SECRET}]}}
"""
    found = problems(tmp_path, text, PW=SECRET)
    assert {one.key: at(text, one) for one in found} == {
        "model": "modell:",
        "modell": "modell:",
        "dtype": "int8",
        "temporal_reuse.threshold": "-1}",
        "batch_size": "true",
        "max_divergence": "0.3",
        "mqtt.host": '"mqtt://x",',
        "mqtt.port": "70000,",
        "mqtt.password": f"{SECRET}}}",
        "cameras.door.source": '"ftp://${PW}/x"',
        "cameras.door.fps": '"${PW}"',
        "cameras.door.crop": "[0,",
        "cameras.door.labels[1]": "c]",
        "cameras.door.zones.z": "[0,",
        "cameras.door.zones.y.labels": "[b]}}",
        "cameras.door.webhook.url": '"ftp://${PW}",',
        "cameras.door.webhook.headers.A": "3}}",
        "cameras.door.states": "states:",
        "cameras.yard.source": "yard:",
        "cameras.yard.fsp": "fsp:",
        "cameras.yard.states.agree": "0},",
        "cameras.yard.picture.quality": "99}}",
        "cameras.door": "door:",
        "cameras.my cam": "my",
        "cameras.my cam.source": f"[{SECRET}]}}",
    }
    assert [one.line for one in found] == sorted(one.line for one in found)
    assert {one.key: one.line for one in found}["cameras.door"] == 18
    sentences = "\n".join(one.sentence for one in found)
    for part in (
        "the file has no model; add 'model: ...' to it.",
        "the file has no setting 'modell'; did you mean model?",
        "dtype is 'int8', but must be one of float32, bfloat16, float16.",
        "temporal_reuse.threshold is -1, but must be a number of at least 0, or None.",
        "batch_size is true, but must be a whole number of at least 1.",
        "mqtt.port is 70000, but must be a whole number from 1 to 65535.",
        "cameras.door.source uses a protocol that is not allowed; use one of file, http, https, rtsp",
        "cameras.door.fps is '${PW}', but must be a number above 0 and at most 1000.",
        "cameras.door.labels[1] is not among the labels of the service; use some of 'a', 'b'.",
        "cameras.door.states is empty, but must be a mapping with some of agree, min_score; fill it in, or leave it ",
        "cameras.yard has no source; add 'source: ...' to it.",
        "cameras.yard has no setting 'fsp'; did you mean fps?",
        "cameras.door is there twice, also in line 9; rename or remove one of them.",
        "cameras.my cam.source must be text.",
    ):
        assert part in sentences
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text, PW=SECRET)
    path = tmp_path / "cameras.yaml"
    assert str(caught.value) == f"{path}:1:1: the file has no model; add 'model: ...' to it. (24 other problems)"
    assert caught.value.lines()[2] == f"{path}:3:8: dtype is 'int8', but must be one of float32, bfloat16, float16."
    assert pickle.loads(pickle.dumps(caught.value)).problems == found


@pytest.mark.parametrize(
    ("text", "line", "column", "part"),
    [
        ("", 1, 1, "the file is empty; write a model and cameras into it."),
        ("# nothing\n---\n", 1, 1, "the file is empty"),
        ("- a\n- b\n", 1, 1, "the file is ['a', 'b'], but must be a mapping with some of model, labels"),
        ("word", 1, 1, "the file is 'word', but must be a mapping"),
        ("model: a: b\n", 1, 9, "mapping values are not allowed here"),
        ("model: [a\n", 2, 1, "the file is not YAML"),
        ("a:\n\tb: 1\n", 2, 1, "indent with spaces in place of tabs"),
        ("a: {b: ${C}}\n", 1, 9, "put the value with ${...} in quotes"),
        (f"a: *{SECRET}\n", 1, 4, "what stands here"),
        (f'a: "{SECRET}\n', 2, 1, "the file is not YAML"),
        ("a: 1\n---\nb: 2\n", 2, 1, "the file is not YAML"),
        ("a: \x07b\n", 1, 4, "the file has a control character here"),
        (b"a: 1\nb: \xff\n", 2, 4, "the file is not UTF-8 here"),
        ("a: 1".encode("utf-16"), 1, 1, "the file is not UTF-8 here"),
        ("[" * 5000, 1, 1, "the file is nested too deeply"),
        ("a: &a [*a]\n", 1, 4, "a[0] contains itself"),
        ("a: &a\n  <<: *a\n", 1, 4, "a contains itself"),
        (ALIASES, 1, 8, "100000 values"),
        (b"a" * (MOST_BYTES + 1), 1, 1, "the file has more than 1 MiB"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_settings(tmp_path: Path, text: str | bytes, line: int, column: int, part: str) -> None:
    found = problems(tmp_path, text)[0]
    assert part in found.sentence
    assert (found.line, found.column) == (line, column) or "values" in part


def test_keys_and_tags_that_are_none(tmp_path: Path) -> None:
    text = f"{HEAD}? [a, b]\n: 1\ndevice: !secret {SECRET}\n{DOOR}"
    assert [(one.line, one.column, one.key) for one in problems(tmp_path, text)] == [(3, 3, ""), (5, 9, "device")]


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        (f"webhook: http://ha/api/webhook/{SECRET}", "webhook"),
        (f"webhook: [http://ha/api/webhook/{SECRET}]", "webhook"),
        (f"webhook: {{url: http://ha/, {SECRET}: 1}}", "webhook"),
        (f"webhook: {{url: http://ha/, url:http://ha/{SECRET}}}", "webhook"),
        (f"webhook: {{url: http://ha/, cooldown_s: {SECRET}}}", "webhook.cooldown_s"),
        (f"webhook: {{url: http://ha/, headers: 'Authorization: Bearer {SECRET}'}}", "webhook.headers"),
        (f"webhook: {{url: http://ha/, headers: ['Authorization: Bearer {SECRET}']}}", "webhook.headers"),
        (f"webhook: {{url: http://ha/, headers: {{'Authorization: Bearer {SECRET}'}}}}", "webhook.headers"),
        (f"webhook: {{url: http://ha/, headers: {{{SECRET}}}}}", "webhook.headers"),
        (f"? webhook:http://ha/{SECRET}", "webhook:..."),
    ],
)
def test_what_is_not_as_it_is_meant_shows_no_secret(tmp_path: Path, setting: str, key: str) -> None:
    line, _, found, sentence = only(tmp_path, f"{HEAD}{DOOR}    {setting}\n")
    assert line == 6 and found == f"cameras.door.{key}" and sentence.startswith("cameras.door")


def test_keys_of_a_webhook_that_are_none_show_no_secret_whatever_is_wrong_with_them(tmp_path: Path) -> None:
    for inner in (
        f"{SECRET}: 1, {SECRET}: 2",
        f"{SECRET}: !x 1",
        f"{SECRET}: '${{NO}}'",
        f"headers: {{'Bearer {SECRET}': !x 1}}",
        f"headers: {{'Bearer {SECRET}': '${{NO}}'}}",
    ):
        text = f"{HEAD}{DOOR}    webhook: {{url: http://ha/, {inner}}}\n"
        assert all(one.key.startswith("cameras.door.webhook") for one in problems(tmp_path, text))
    assert set(WEBHOOK_KEYS) == set(WebhookSettings.model_fields)


def test_a_key_without_a_space_behind_it_shows_no_secret(tmp_path: Path) -> None:
    for text in (f"mqtt: password:{SECRET}\n{DOOR}", f"{DOOR}  gate: [webhook:http://ha/{SECRET}]\n"):
        assert "but must be a mapping" in only(tmp_path, f"{HEAD}{text}")[3]
    assert "is 'password:...', but" in only(tmp_path, f"{HEAD}mqtt: password:{SECRET}\n{DOOR}")[3]


@pytest.mark.parametrize(
    ("line", "column", "key"),
    [
        ("device: !!int abc", 9, "device"),
        ("verify_every: !!bool maybe", 15, "verify_every"),
        ("verify_every: !!float maybe", 15, "verify_every"),
        ("batch_size: 0b_", 13, "batch_size"),
        (f"batch_size: {'9' * 5000}", 13, "batch_size"),
        (f"metrics: !{SECRET} {{}}", 10, "metrics"),
        ("temporal_reuse: !!python/object:os.system {mode: off}", 17, "temporal_reuse"),
        ("mqtt: {host: h, tls: !!set {}}", 22, "mqtt.tls"),
    ],
)
def test_a_value_that_is_not_what_its_tag_says_is_a_problem(tmp_path: Path, line: str, column: int, key: str) -> None:
    assert only(tmp_path, f"{HEAD}{line}\n{DOOR}")[:3] == (3, column, key)


def test_a_tag_on_all_cameras_is_one_problem(tmp_path: Path) -> None:
    assert only(tmp_path, f"{HEAD}cameras: !foo\n  door: !bar {{source: x}}\n")[:3] == (3, 10, "cameras")


def test_no_file_a_folder_and_one_that_is_not_to_be_read(tmp_path: Path) -> None:
    for path, part in ((tmp_path / "no.yaml", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(SettingsError) as caught:
            read_settings(path)
        assert str(caught.value).startswith(f"{path}:1:1: the file {part}") and "other problem" not in str(
            caught.value
        )
    if os.geteuid() != 0:
        (tmp_path / "a.yaml").touch(mode=0)
        with pytest.raises(SettingsError, match="permissions"):
            read_settings(tmp_path / "a.yaml")


def test_anchors_are_taken_over_and_what_is_wrong_in_them_is_found_there(tmp_path: Path) -> None:
    text = f"{HEAD}{DOOR}  gate: &gate {{source: x, fps: 3, states: {{agree: 4}}}}\n  yard: {{<<: *gate, fps: 5}}\n"
    cameras = read(tmp_path, text).cameras
    assert (cameras["yard"].fps, cameras["yard"].states.agree, cameras["gate"].fps) == (5, 4, 3)
    found = problems(tmp_path, text.replace("agree: 4", "agree: no"))
    assert {(one.line, one.key) for one in found} == {
        (6, "cameras.gate.states.agree"),
        (6, "cameras.yard.states.agree"),
    }
    assert only(tmp_path, f"{HEAD}{DOOR}    <<: 3\n")[:3] == (6, 9, "cameras.door")


def test_paths_are_meant_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "model").mkdir()
    (tmp_path / "clip.mp4").touch()
    text = (
        "model: {}\ndata: data\nmqtt: {{host: h, tls: {{ca_file: ca.pem}}}}\ncameras:\n  a: {{source: clip.mp4}}\n"
        "  b: {{source: 'live:clip.mp4'}}\n  c: {{source: other.mp4}}\n  d: {{source: /dev/video0}}\n"
        "  e: {{source: 'example:demo.mp4'}}\n  f: {{source: '${{CLIP}}'}}\n"
    )
    settings = read(tmp_path, text.format("model"), CLIP="clip.mp4")
    assert settings.model == str(tmp_path / "model") and settings.data == str(tmp_path / "data")
    assert settings.mqtt is not None and settings.mqtt.tls is not None
    assert settings.mqtt.tls.ca_file == str(tmp_path / "ca.pem")
    assert {name: camera.source.get_secret_value() for name, camera in settings.cameras.items()} == {
        "a": str(tmp_path / "clip.mp4"),
        "b": f"live:{tmp_path / 'clip.mp4'}",
        "c": "other.mp4",
        "d": "/dev/video0",
        "e": hf_ttr.example("demo.mp4"),
        "f": str(tmp_path / "clip.mp4"),
    }
    assert str(settings.cameras["f"].source) == "${CLIP}"
    assert read(tmp_path, text.format("some/model"), CLIP="x").model == "some/model"


def test_a_model_or_an_example_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert only(tmp_path, f"model: ./none\n{DOOR}") == (
        1, 8, "model", "model is './none', but there is no such folder; check the path.",
    )  # fmt: skip
    assert "there is no such folder" in only(tmp_path, f"model: a/b/${{M}}\n{DOOR}", M=SECRET)[3]
    assert "is no example that comes with" in only(tmp_path, f"model: example:${{M}}\n{DOOR}", M=SECRET)[3]
    found = only(tmp_path, "model: m\ncameras: {a: {source: 'example:no'}}\n")
    assert found[:3] == (2, 23, "cameras.a.source") and "demo.mp4" in found[3]


def test_ways_to_values_are_written_as_people_do() -> None:
    assert key_text(("cameras", "door", "labels", 0)) == "cameras.door.labels[0]" and key_text(()) == ""
    assert key_text(("a\x1b[2J",)) == r"a\x1b[2J"


@given(st.text(st.sampled_from("ab:{}[]\n -#&*!|>'\"%@`$?,<0\t"), max_size=40))
def test_any_text_is_settings_or_has_problems(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)
    for place in (f"{HEAD}{DOOR}    labels: {text}\n", f"{HEAD}mqtt: {text}\n{DOOR}", f"{HEAD}{text}\n{DOOR}"):
        try:
            read(tmp_path, place)
        except SettingsError as error:
            lines = place.count("\n") + 2
            assert all(1 <= one.line <= lines and one.column >= 1 for one in error.problems)
