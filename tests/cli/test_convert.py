"""`hf-ttr convert`: what it writes and says, and every bad option; what it does is tested in tests/hub/test_hub.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from hf_ttr.cli import app

from ..hub_server import TOKEN, hub_server


# Options, the settings that they stand for, and what is said of them.
SETTINGS = {
    "defaults": ([], {"mode": "bidirectional", "threshold": None, "compute_budget": None}, "bidirectional reuse"),
    "threshold": (["--threshold", "0.3"], {"threshold": 0.3}, "threshold 0.3"),
    "budget": (["--budget", "0.2"], {"compute_budget": 0.2, "threshold": None}, "budget 0.2"),
    "mode": (["--mode", "causal"], {"mode": "causal"}, "causal reuse"),
    "off": (["--mode", "off"], {"mode": "off"}, "no reuse"),
    "reduction": (["--reduction", "tome:r=2"], {}, "tome"),
}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("model", ["vit", "videomae"])
@pytest.mark.parametrize(("options", "settings", "words"), SETTINGS.values(), ids=SETTINGS)
def test_settings_are_in_the_config_and_in_the_output(runner, files, tmp_path, model, options, settings, words):
    target = tmp_path / "target"
    result = runner.invoke(app, ["convert", str(files / model), str(target), *options])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    assert result.stdout.startswith(f"{target}: TemporalReuse")
    assert "Its card README.md: base model and licence not known; `hf-ttr card " in result.stdout
    assert words in result.stdout and f"the weights of {files / model}" in result.stdout
    written = json.loads((target / "config.json").read_text())["temporal_reuse"]
    assert {name: written[name] for name in settings} == settings
    assert [method["method"] for method in written["reduction"]] == (["tome"] if "--reduction" in options else [])


@pytest.mark.usefixtures("no_network")
def test_what_was_converted_is_classified_with_its_settings(runner, files, tmp_path):
    target = tmp_path / "target"
    runner.invoke(app, ["convert", str(files / "vit"), str(target), "--mode", "causal", "--threshold", "0.2"])
    outputs = []
    for model in (target, files / "reuse"):
        arguments = ["classify", str(files / "clip.mp4"), "--model", str(model), "--json", "--no-compare-dense"]
        outputs.append(json.loads(runner.invoke(app, arguments).stdout))
    for name in ("labels", "scores", "computed_share", "multiply_adds", "settings"):
        assert outputs[0][name] == outputs[1][name]


def test_overwriting_is_asked_for(runner, files, tmp_path):
    arguments = ["convert", str(files / "vit"), str(tmp_path / "target")]
    assert runner.invoke(app, arguments).exit_code == 0
    refused = runner.invoke(app, arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "is not empty" in refused.stderr and "--overwrite" in refused.stderr
    assert runner.invoke(app, [*arguments, "--overwrite", "--mode", "causal"]).exit_code == 0
    assert json.loads((tmp_path / "target" / "config.json").read_text())["temporal_reuse"]["mode"] == "causal"


@pytest.mark.parametrize("options", [[], ["--private"]], ids=["as-the-account-says", "private"])
def test_push_prints_the_address(runner, files, tmp_path, monkeypatch, options):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        arguments = ["convert", str(files / "vit"), str(tmp_path / "target"), "--push-to-hub", "me/clips", *options]
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[-1] == f"{server.endpoint}/me/clips"
        assert server.private == {"me/clips": bool(options)}
        assert server.repos["me/clips"].keys() == {path.name for path in (tmp_path / "target").iterdir()}


def test_push_offline_keeps_the_folder(runner, files, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    target = tmp_path / "target"
    result = runner.invoke(app, ["convert", str(files / "vit"), str(target), "--push-to-hub", "me/clips"])
    assert result.exit_code == 2
    assert (target / "model.safetensors").is_file()
    assert result.stderr == (
        f"Error: '{target}' cannot be pushed to 'me/clips' while HF_HUB_OFFLINE is set; unset it, then "
        f"`hf upload me/clips {target}`.\n"
    )


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("options", [[], ["--dtype", "float16"]], ids=["default", "kept"])
def test_float16_is_slow_on_a_cpu(runner, files, tmp_path, options):
    half = tmp_path / "half"
    shutil.copytree(files / "vit", half)
    save_file(
        {name: weight.half() for name, weight in load_file(half / "model.safetensors").items()},
        half / "model.safetensors",
        metadata={"format": "pt"},
    )
    (half / "README.md").write_text("---\nbase_model: owner/base\nlicense: mit\n---\n")
    result = runner.invoke(app, ["convert", str(half), str(tmp_path / "target"), *options])
    assert result.exit_code == 0, result.stderr
    first, *others = result.stdout.splitlines()
    dtypes = {weight.dtype for weight in load_file(tmp_path / "target" / "model.safetensors").values()}
    assert others[-1] == "Its card README.md: base model owner/base, licence mit."
    if options:
        assert f"the weights of {half} as they are" in first and dtypes == {torch.float16} and len(others) == 1
    else:
        assert f"the weights of {half} in float32, which were in float16 (" in first and dtypes == {torch.float32}
        assert others[0].startswith(
            "Most CPUs are several times slower with float16 than with float32; --dtype float16 keeps it"
        )


BAD = {
    "dtype-unknown": (["--dtype", "int8"], ["--dtype is 'int8'", "float32, bfloat16, float16"]),
    "threshold-and-budget": (["--threshold", "0.2", "--budget", "0.3"], ["exclude each other"]),
    "budget-zero": (["--budget", "0"], ["--budget is 0"]),
    "mode-unknown": (["--mode", "sideways"], ["sideways", "bidirectional, causal, off"]),
    "mode-off-with-budget": (["--mode", "off", "--budget", "0.5"], ["--budget", "--mode off"]),
    "reduction-unknown": (["--reduction", "some"], ["no reduction 'some'"]),
    "reduction-of-windows": (["--reduction", "run_length"], ["like this", "'run_length'"]),
    "private-alone": (["--private"], ["--private", "--push-to-hub"]),
    "repository-without-a-name": (["--push-to-hub", ""], ["''", "cannot be the name", "'me/target'"]),
    "repository-of-a-bad-name": (["--push-to-hub", "me/a b"], ["'me/a b'", "cannot be the name"]),
}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_bad_option_is_one_sentence_and_nothing_is_written(
    runner, files: Path, tmp_path: Path, options: list[str], words: list[str]
):
    result = runner.invoke(app, ["convert", str(files / "vit"), str(tmp_path / "target"), *options])
    assert (result.exit_code, result.stdout) == (2, ""), result.exception
    for word in words:
        assert word in result.stderr
    assert result.stderr.startswith("Error: ") and result.stderr.endswith(".\n")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
