"""`hf-ttr classify`: the figures against a direct call of the model, and every bad input."""

from __future__ import annotations

import http.server
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

from hf_ttr import (
    TemporalReuseVideoMAEForVideoClassification,
    TemporalReuseVideoProcessor,
    TemporalReuseViTForVideoClassification,
    __version__,
    visualization,
)
from hf_ttr.cli import app, comparison

from ..tiny import tiny_parent
from .conftest import write_clip


def classify_json(runner: CliRunner, files: Path, model: str, *options: str) -> dict:
    result = runner.invoke(
        app, ["classify", str(files / "clip.mp4"), "--model", str(files / model), "--json", *options]
    )
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def call_model(files: Path, model: str, settings: dict, **sampling: int):
    processor = TemporalReuseVideoProcessor.from_pretrained(files / model)
    pixel_values = processor(str(files / "clip.mp4"), return_tensors="pt", **sampling).pixel_values
    is_videomae = model.startswith("videomae")
    reuse_class = (
        TemporalReuseVideoMAEForVideoClassification if is_videomae else TemporalReuseViTForVideoClassification
    )
    classifier = reuse_class.from_pretrained(files / model, temporal_reuse=settings).eval()
    with torch.inference_mode():
        return classifier(pixel_values)


def divergence(dense: torch.Tensor, reuse: torch.Tensor) -> float:
    expected, got = dense.log_softmax(-1), reuse.log_softmax(-1)
    return torch.nn.functional.kl_div(got, expected, log_target=True, reduction="batchmean").item()


SETTINGS = {
    "as-the-checkpoint-says": ([], {}),
    "threshold": (["--threshold", "0.4"], {"threshold": 0.4}),
    "budget-in-the-place-of-threshold": (["--budget", "0.3"], {"compute_budget": 0.3, "threshold": None}),
    "mode": (["--mode", "bidirectional"], {"mode": "bidirectional"}),
    "reduction": (
        ["--reduction", "tome:r=2", "--reduction", "pruning:by=random:layers=[1]"],
        {
            "reduction": [
                {"method": "tome", "r": 2, "schedule": "constant", "proportional_attention": True},
                {"method": "pruning", "keep": 0.7, "layers": [1], "by": "random", "seed": 0},
            ]
        },
    ),
}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("model", ["reuse", "vit", "videomae-reuse", "videomae"])
@pytest.mark.parametrize(("options", "settings"), SETTINGS.values(), ids=SETTINGS)
def test_json_is_what_the_model_gives(runner, files, model, options, settings):
    frames = 8 if model.startswith("videomae") else 10
    found = classify_json(runner, files, model, *options, "--num-frames", str(frames), "--top-k", "3")

    reuse = call_model(files, model, settings, num_frames=frames)
    dense = call_model(files, model, {"mode": "off"}, num_frames=frames)
    for prefix, output in (("", reuse), ("dense_", dense)):
        scores, labels = output.logits[0].softmax(-1).topk(3)
        assert found[f"{prefix}labels"] == [f"LABEL_{label}" for label in labels]
        assert found[f"{prefix}scores"] == pytest.approx(scores.tolist(), abs=1e-5)
    assert found["computed_share"] == pytest.approx(reuse.reuse.computed_share.item())
    assert 0 < found["computed_share"] < 1
    assert found["multiply_adds"] == reuse.reuse.multiply_adds.item()
    assert found["dense_multiply_adds"] == reuse.reuse.dense_multiply_adds.item()

    agreement = found["agreement"]
    assert agreement["same_top_label"] == (found["labels"][0] == found["dense_labels"][0])
    assert agreement["clip_kl"] == pytest.approx(divergence(dense.logits, reuse.logits), abs=1e-5)
    if model.startswith("videomae"):
        assert (agreement["frames_with_same_top_label"], agreement["mean_frame_kl"]) == (None, None)
    else:
        same = dense.frame_logits.argmax(-1) == reuse.frame_logits.argmax(-1)
        assert agreement["frames_with_same_top_label"] == same.float().mean().item()
        expected = divergence(dense.frame_logits[0], reuse.frame_logits[0])
        assert agreement["mean_frame_kl"] == pytest.approx(expected, abs=1e-5)

    assert 0 < found["model_seconds"] < found["seconds"]
    assert 0 < found["dense_model_seconds"] < found["dense_seconds"]
    assert (found["frames"], found["video_frames"], found["runs"]) == (frames, 12, 1)
    in_force = {"reuse": 0.2, "vit": 0.1, "videomae-reuse": 0.2, "videomae": 0.4}[model]
    if "compute_budget" in settings:
        in_force = None
    assert found["settings"].items() >= {"threshold": in_force, **settings}.items()
    assert (found["frame_sampling_rate"], found["dtype"]) == (1, "float32")
    assert found["seconds_between_frames"] == pytest.approx(0.1)
    assert found["video"] == str(files / "clip.mp4")
    assert found["model"] == str(files / model)


def test_frame_sampling_rate_reaches_the_processor(runner, files):
    options = ("--num-frames", "4", "--frame-sampling-rate", "2", "--no-compare-dense")
    found = classify_json(runner, files, "reuse", *options)
    output = call_model(files, "reuse", {}, num_frames=4, frame_sampling_rate=2)
    assert found["multiply_adds"] == output.reuse.multiply_adds.item()
    assert found["scores"] == pytest.approx(output.logits[0].softmax(-1).topk(5).values.tolist(), abs=1e-5)


def test_without_comparison_nothing_is_said_of_a_dense_run(runner, files):
    found = classify_json(runner, files, "reuse", "--no-compare-dense")
    assert [found[name] for name in ("dense_labels", "dense_seconds", "agreement")] == [None] * 3
    assert found["dense_multiply_adds"] > found["multiply_adds"]


def test_mode_off_computes_everything(runner, files):
    found = classify_json(runner, files, "reuse", "--mode", "off")
    output = call_model(files, "reuse", {"mode": "off"}, num_frames=16)
    assert found["scores"] == pytest.approx(output.logits[0].softmax(-1).topk(5).values.tolist(), abs=1e-5)
    assert (found["computed_share"], found["multiply_adds"], found["agreement"]) == (1.0, None, None)


def test_reduction_in_mode_off_is_compared_with_the_dense_model(runner, files):
    options = ["--mode", "off", "--reduction", "tome:r=6"]
    found = classify_json(runner, files, "vit", *options)
    output = call_model(files, "vit", {"mode": "off", "reduction": {"method": "tome", "r": 6}}, num_frames=16)
    assert found["scores"] == pytest.approx(output.logits[0].softmax(-1).topk(5).values.tolist(), abs=1e-5)
    assert found["computed_share"] == 1.0
    assert found["merged_share"] == pytest.approx(output.reuse.merged_by_layer[0, -1].item() / (16 * 37))
    assert found["pruned_share"] == 0.0
    assert found["multiply_adds"] < found["dense_multiply_adds"]
    assert found["agreement"] is not None
    result = runner.invoke(app, ["classify", str(files / "clip.mp4"), "--model", str(files / "vit"), *options])
    assert "with fewer tokens" in result.stdout and "no reuse, tome" in result.stdout
    assert "tokens merged" in result.stdout and "tokens left out" not in result.stdout


def test_table_names_labels_savings_and_agreement(runner, files):
    result = runner.invoke(app, ["classify", str(files / "clip.mp4"), "--model", str(files / "reuse"), "--top-k", "2"])
    assert result.exit_code == 0, result.stderr
    for word in ("LABEL_", "tokens computed", "fewer", "with decoding", "KL divergence", "threshold 0.2", "causal"):
        assert word in result.stdout
    assert "repeat the last one" in result.stdout  # 16 frames of a video of 12


@pytest.mark.parametrize("model", ["videomae", "videomae-reuse"])
def test_table_of_a_videomae_speaks_of_the_clip_alone(runner, files, model):
    result = runner.invoke(app, ["classify", str(files / "clip.mp4"), "--model", str(files / model)])
    assert result.exit_code == 0, result.stderr
    assert "8 frames of" in result.stdout
    assert "top label; KL divergence of the clip" in result.stdout
    assert "of 8 frames" not in result.stdout and "of the frames" not in result.stdout


@pytest.mark.parametrize("options", [[], ["--num-frames", "8"]], ids=["as-the-model-takes", "asked-for"])
def test_short_video_is_held_for_a_videomae(runner, files, tmp_path, options):
    clip = write_clip(tmp_path / "short.mp4", frames=5)
    arguments = ["classify", str(clip), "--model", str(files / "videomae"), *options]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "5 are different, the others repeat the last one" in " ".join(result.stdout.split())
    found = json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)
    assert (found["frames"], found["video_frames"]) == (8, 5)


@pytest.mark.parametrize(("rate", "expected"), [(None, list(range(8))), ("spread", [0, 2, 3, 5, 6, 8, 9, 11])])
def test_frames_follow_each_other_unless_they_are_to_be_spread(files, rate, expected):
    pipelines = comparison.Pipelines.load(str(files / "videomae"), {}, with_dense=False)
    result = comparison.compare(str(files / "clip.mp4"), pipelines, frame_sampling_rate=rate)
    assert result.frame_indices == expected
    pixels = TemporalReuseVideoProcessor.from_pretrained(files / "videomae")(
        str(files / "clip.mp4"), num_frames=8, frame_sampling_rate=rate, return_tensors="pt"
    ).pixel_values
    with torch.inference_mode():
        logits = pipelines.reuse.model(pixels).logits[0]
    torch.testing.assert_close(result.reuse.logits, logits.double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", ["vit", "videomae"])
@pytest.mark.parametrize("options", [["--no-compare-dense"], ["--mode", "off"]], ids=" ".join)
def test_table_of_a_single_run(runner, files, model, options):
    result = runner.invoke(app, ["classify", str(files / "clip.mp4"), "--model", str(files / model), *options])
    assert result.exit_code == 0, result.stderr
    assert "LABEL_" in result.stdout
    assert "KL" not in result.stdout


def test_picture_is_written(runner, files, tmp_path):
    path = tmp_path / "map.png"
    found = classify_json(runner, files, "reuse", "--picture", str(path))
    assert found["picture"] == str(path)
    assert PIL.Image.open(path).width == 1200
    assert [file.name for file in tmp_path.iterdir()] == ["map.png"]


def test_picture_of_a_videomae_shows_the_first_frame_of_each_tubelet(files, tmp_path, monkeypatch):
    drawn = {}

    def keep(frames, plan, **options):
        drawn.update(frames=frames, plan=plan, **options)
        return draw(frames, plan, **options)

    draw = visualization.reuse_map
    monkeypatch.setattr(visualization, "reuse_map", keep)
    pipelines = comparison.Pipelines.load(str(files / "videomae"), {}, with_dense=False, with_maps=True)
    result = comparison.compare(str(files / "clip.mp4"), pipelines, frame_sampling_rate="spread", with_maps=True)
    result.save_picture(str(tmp_path / "map.png"))

    assert PIL.Image.open(tmp_path / "map.png").width == 1200
    assert (drawn["frames"] == result.reuse.pixels[::2]).all() and len(drawn["frames"]) == 4
    assert drawn["plan"].shape == (4, 36)
    assert drawn["prefix_tokens"] == 0
    assert drawn["captions"] == ["0.0 s", "0.3 s", "0.6 s", "0.9 s"]


@pytest.mark.parametrize("normalize", [True, False])
def test_picture_shows_what_the_model_saw(normalize):
    frames = torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8)
    processor = TemporalReuseVideoProcessor(
        size={"height": 24, "width": 24}, do_normalize=normalize, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7]
    )
    pixel_values = processor(frames, return_tensors="pt").pixel_values[0]
    assert (comparison._as_seen(pixel_values, processor) == frames.numpy()).all()


def test_settings_of_the_process_stay(runner, files):
    loggers = [logging.getLogger("transformers"), logging.getLogger()]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    bars = transformers_logging.is_progress_bar_enabled()
    classify_json(runner, files, "reuse", "--no-compare-dense")
    assert [(logger.level, list(logger.handlers)) for logger in loggers] == before
    assert transformers_logging.is_progress_bar_enabled() == bars


def test_interrupt_is_quiet(runner, files, monkeypatch):
    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "load_pipeline", interrupt)
    result = runner.invoke(app, ["classify", str(files / "clip.mp4"), "--model", str(files / "reuse")])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------


def truncated(folder: Path) -> None:
    content = write_clip(folder / "broken.mp4", frames=60).read_bytes()
    (folder / "broken.mp4").write_bytes(content[: len(content) // 2])


def edit_config(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def without_head(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model" / "model.safetensors"
    weights = {name: weight for name, weight in load_file(path).items() if not name.startswith("classifier")}
    save_file(weights, path, metadata={"format": "pt"})


def as_pickle(folder: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return (Path.touch, (folder / "executed",))

    (folder / "model" / "model.safetensors").unlink()
    torch.save({"classifier.weight": Evil()}, folder / "model" / "pytorch_model.bin")


def with_nan(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"].fill_(float("nan"))
    save_file(weights, path, metadata={"format": "pt"})


def without_processor(folder: Path) -> None:
    for path in (folder / "model").glob("*preprocessor_config.json"):
        path.unlink()


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def cut_weights(folder: Path) -> None:
    path = folder / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def nothing(folder: Path) -> None:
    pass


# What is broken first, the options, and what the message says; "model" is a copy of the model named last.
BAD = {
    "video-missing": (nothing, ["nowhere.mp4"], ["nowhere.mp4", "does not exist"], "reuse"),
    "video-is-text": (write("a.mp4", b"hello" * 99), ["a.mp4"], ["a.mp4", "not a video"], "reuse"),
    "video-empty": (write("a.mp4", b""), ["a.mp4"], ["a.mp4", "empty"], "reuse"),
    "video-truncated": (truncated, ["broken.mp4"], ["broken.mp4", "cut off"], "reuse"),
    "video-is-folder": (nothing, ["model"], ["model", "folder"], "reuse"),
    "model-missing": (nothing, ["--model", "./nowhere"], ["./nowhere", "does not exist"], "reuse"),
    "model-is-empty-name": (nothing, ["--model", ""], ["does not exist"], "reuse"),
    "model-is-file": (nothing, ["--model", "clip.mp4"], ["clip.mp4", "is a file"], "reuse"),
    "model-is-not-on-the-hub": (nothing, ["--model", "no one/has:this"], ["no one/has:this", "Hub"], "reuse"),
    "model-without-config": (nothing, ["--model", "."], ["no config.json"], "reuse"),
    "model-with-broken-config": (write("model/config.json", b"{"), [], ["config.json", "cannot be read"], "vit"),
    "model-of-text": (edit_config(model_type="bert"), [], ["'bert'", "image"], "vit"),
    "model-without-type": (edit_config(model_type=None), [], ["None", "image"], "vit"),
    "model-with-bad-settings": (edit_config(temporal_reuse={"threshold": -1}), [], ["threshold"], "reuse"),
    "model-with-unlike-sizes": (edit_config(hidden_size=64), [], ["cannot be loaded"], "reuse"),
    "model-no-classifier": (edit_config(architectures=["ViTModel"]), [], ["no classifier", "ViTModel"], "vit"),
    "model-of-pretraining": (
        edit_config(architectures=["VideoMAEForPreTraining"]),
        [],
        ["no classifier", "VideoMAEForPreTraining"],
        "videomae",
    ),
    "videomae-without-head": (without_head, [], ["classifier.weight", "trained"], "videomae"),
    "videomae-without-processor": (without_processor, [], ["no preprocessor_config.json"], "videomae"),
    "videomae-with-cut-weights": (cut_weights, [], ["cannot be loaded", "complete copy"], "videomae-reuse"),
    "videomae-with-other-num-frames": (nothing, ["--num-frames", "4"], ["takes 8 frames", "is 4"], "videomae"),
    "videomae-with-reuse-and-other-num-frames": (
        nothing,
        ["--num-frames", "16"],
        ["takes 8 frames", "is 16"],
        "videomae-reuse",
    ),
    "videomae-processor-of-another-size": (
        write("model/video_preprocessor_config.json", b'{"size": {"height": 32, "width": 32}}'),
        [],
        ["cannot run", "32"],
        "videomae",
    ),
    "model-without-head": (without_head, [], ["classifier.weight", "trained"], "vit"),
    "model-with-nan": (with_nan, [], ["NaN", "damaged"], "vit"),
    "processor-missing": (without_processor, [], ["no preprocessor_config.json"], "reuse"),
    "processor-missing-of-vit": (without_processor, [], ["no preprocessor_config.json"], "vit"),
    "processor-broken": (write("model/video_preprocessor_config.json", b"{"), [], ["processor"], "reuse"),
    "processor-of-another-size": (
        write("model/video_preprocessor_config.json", b'{"size": {"height": 32, "width": 32}}'),
        [],
        ["cannot run", "32"],
        "reuse",
    ),
    "weights-missing": (lambda folder: (folder / "model/model.safetensors").unlink(), [], ["model", "loaded"], "vit"),
    "weights-as-pickle": (as_pickle, [], ["pytorch_model.bin", "not loaded", "save_pretrained"], "reuse"),
    "weights-as-pickle-of-vit": (as_pickle, [], ["pytorch_model.bin", "not loaded"], "vit"),
    "weights-garbage": (write("model/model.safetensors", b"abc"), [], ["cannot be loaded", "header"], "reuse"),
    "weights-garbage-of-vit": (write("model/model.safetensors", b"abc"), [], ["cannot be loaded"], "vit"),
    "weights-cut-off": (cut_weights, [], ["cannot be loaded", "complete copy"], "reuse"),
    "threshold-and-budget": (nothing, ["--threshold", "0.2", "--budget", "0.3"], ["exclude each other"], "reuse"),
    "threshold-negative": (nothing, ["--threshold", "-1"], ["--threshold is -1", "at least 0", "default"], "reuse"),
    "threshold-nan": (nothing, ["--threshold", "nan"], ["--threshold is nan"], "reuse"),
    "threshold-infinite": (nothing, ["--threshold", "inf"], ["--threshold is inf"], "reuse"),
    "threshold-word": (nothing, ["--threshold", "much"], ["--threshold"], "reuse"),
    "budget-zero": (nothing, ["--budget", "0"], ["--budget is 0", "above 0"], "reuse"),
    "budget-above-one": (nothing, ["--budget", "1.5"], ["--budget is 1.5"], "reuse"),
    "budget-nan": (nothing, ["--budget", "nan"], ["--budget is nan"], "reuse"),
    "num-frames-zero": (nothing, ["--num-frames", "0"], ["--num-frames is 0"], "reuse"),
    "num-frames-beyond-the-video": (nothing, ["--num-frames", "13"], ["has 12 frames", "--num-frames 12"], "reuse"),
    "num-frames-huge": (nothing, ["--num-frames", str(10**15)], ["has 12 frames"], "reuse"),
    "sampling-rate-zero": (
        nothing,
        ["--frame-sampling-rate", "0"],
        ["--frame-sampling-rate is '0'", "or spread"],
        "reuse",
    ),
    "top-k-zero": (nothing, ["--top-k", "0"], ["--top-k is 0"], "reuse"),
    "mode-unknown": (nothing, ["--mode", "sideways"], ["sideways", "bidirectional, causal, off"], "reuse"),
    "mode-off-with-threshold": (nothing, ["--mode", "off", "--threshold", "1"], ["--threshold", "off"], "reuse"),
    "mode-off-with-picture": (nothing, ["--mode", "off", "--picture", "a.png"], ["--picture", "off"], "reuse"),
    "mode-off-in-checkpoint-with-picture": (
        edit_config(temporal_reuse={"mode": "off"}),
        ["--picture", "a.png"],
        ["'off'", "--mode"],
        "reuse",
    ),
    "reduction-unknown": (nothing, ["--reduction", "some"], ["no reduction 'some'", "'tome'"], "reuse"),
    "reduction-without-value": (nothing, ["--reduction", "tome:r"], ["tome:r", "tome:r=8"], "reuse"),
    "reduction-out-of-range": (nothing, ["--reduction", "tome:r=-1"], ["tome:r=-1", "r is -1"], "reuse"),
    "reduction-too-large": (nothing, ["--reduction", "tome:r=99"], ["like this", "half of the 37"], "reuse"),
    "reduction-too-large-for-a-vit": (nothing, ["--reduction", "tome:r=99"], ["like this", "half of the 37"], "vit"),
    "reduction-of-windows": (nothing, ["--reduction", "run_length"], ["'run_length'", "several times"], "vit"),
    "reduction-of-frames": (nothing, ["--reduction", "vidtome"], ["'vidtome'", "window"], "videomae"),
    "picture-in-no-folder": (nothing, ["--picture", "no/a.png"], ["no/a.png", "no folder"], "reuse"),
    "picture-is-folder": (lambda folder: (folder / "a.png").mkdir(), ["--picture", "a.png"], ["is a folder"], "reuse"),
    "picture-below-file": (nothing, ["--picture", "clip.mp4/a.png"], ["clip.mp4/a.png", "no folder"], "reuse"),
    "picture-of-other-kind": (nothing, ["--picture", "a.jpg"], ["a.jpg", "'.png'"], "reuse"),
    "device-unknown": (nothing, ["--device", "abacus"], ["'abacus'", "'cpu'"], "reuse"),
    "device-without-data": (nothing, ["--device", "meta"], ["'meta'"], "reuse"),
}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(("damage", "options", "words", "model"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(runner, files, tmp_path, monkeypatch, damage, options, words, model):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(files / model, "model")
    shutil.copy(files / "clip.mp4", "clip.mp4")
    damage(tmp_path)
    is_video = bool(options) and not options[0].startswith("--")
    arguments = ["classify", *options] if is_video else ["classify", "clip.mp4", *options]
    if "--model" not in options:
        arguments += ["--model", "model"]

    result = runner.invoke(app, arguments)

    assert result.exit_code == 2, (result.exception, result.stderr)
    assert result.stdout == ""
    assert not (tmp_path / "executed").exists()
    for word in words:
        assert word in result.stderr
    if not result.stderr.startswith("Usage"):  # how typer words a value that is no number
        assert result.stderr.startswith("Error: ") and result.stderr.endswith(".\n")
        assert result.stderr.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------------------
# The program
# ---------------------------------------------------------------------------------------------------------------------


def test_program_keeps_json_alone_on_stdout(files):
    command = [sys.executable, "-c", "from hf_ttr.cli import main; main()", "classify", str(files / "clip.mp4")]
    command += ["--model", str(files / "vit"), "--json", "--no-compare-dense", "--device", "cpu"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["labels"]
    assert result.stderr == ""


def test_version(runner):
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"hf-ttr {__version__}\n")


def test_help_lists_the_commands(runner):
    result = runner.invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "demo" in result.stdout and "classify" in result.stdout


def test_commands_load_torch_only_when_they_run():
    # The package itself imports it: what counts is that the modules of the commands add nothing to that.
    code = "import sys, hf_ttr; before = set(sys.modules); import hf_ttr.cli; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    added = {name.split(".")[0] for name in result.stdout.split()}
    assert not added & {"av", "matplotlib", "torch", "transformers"}, result.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes.")
def test_a_pipe_is_read_once(runner: CliRunner, files: Path, tmp_path: Path) -> None:
    clip = files / "clip.mp4"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def answers(video: Path) -> dict[str, Any]:
        arguments = ["classify", str(video), "--model", str(files / "reuse"), "--num-frames", "4", "--json"]
        result = runner.invoke(app, arguments)
        assert result.exit_code == 0, result.output
        found: dict[str, Any] = json.loads(result.stdout)
        return found

    expected = answers(clip)
    writer = threading.Thread(target=lambda: pipe.write_bytes(clip.read_bytes()), daemon=True)
    writer.start()
    found = answers(pipe)
    writer.join(10)
    assert found["scores"] == expected["scores"] and found["video"] == str(pipe)


def test_an_address_is_fetched_once(runner: CliRunner, files: Path) -> None:
    clip, fetched = files / "clip.mp4", []

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(clip.stat().st_size))
            self.end_headers()
            self.wfile.write(clip.read_bytes())

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/clip.mp4"
        arguments = ["classify", url, "--model", str(files / "reuse"), "--num-frames", "4", "--json"]
        result = runner.invoke(app, arguments)
        server.shutdown()
    assert result.exit_code == 0 and json.loads(result.stdout)["video"] == url, result.output
    assert fetched == ["/clip.mp4"]


@pytest.mark.parametrize("model", ["vit", "reuse"])
@pytest.mark.parametrize("options", [[], ["--dtype", "float16"]], ids=["as-it-is", "kept"])
def test_float16_is_said_once_and_decided_by_the_option(runner, files, tmp_path, caplog, model, options):
    saved = TemporalReuseViTForVideoClassification.from_pretrained(files / model).half()
    shutil.copytree(files / model, tmp_path / "half")
    (saved if model == "reuse" else tiny_parent().half()).save_pretrained(tmp_path / "half")
    arguments = ["classify", str(files / "clip.mp4"), "--model", str(tmp_path / "half"), "--device", "cpu", "--json"]
    result = runner.invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["dtype"] == ("float16" if options else "float32")
    assert result.stderr.count("--dtype float16 keeps them") == (0 if options else 1)
    assert "which are loaded as float32" not in caplog.text
