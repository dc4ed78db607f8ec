"""`hf-ttr visualize`: every file is written, of the frames that the model saw, and bad input is one sentence."""

from __future__ import annotations

import os

import PIL.Image
import pytest

from hf_ttr import visualization
from hf_ttr.cli import app, comparison
from hf_ttr.cli.visualize import _facts, _frames_per_second
from hf_ttr.video import read_frames


PICTURES = ("reuse.png", "groups.png", "age.png", "error.png")


def run(runner, files, tmp_path, model, *options):
    out = tmp_path / "new" / "pictures"
    arguments = ["visualize", str(files / "clip.mp4"), "--model", str(files / model), "--out", str(out), *options]
    return runner.invoke(app, arguments), out


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("model", "options", "frames"),
    [
        ("reuse", ["--num-frames", "10"], 10),
        ("vit", ["--num-frames", "6", "--gif", "--reduction", "tome:r=3", "--mode", "off"], 6),
        ("videomae", [], 4),
        ("videomae-reuse", ["--reduction", "pruning"], 4),
    ],
    ids=["vit", "vit-tome-gif", "videomae", "videomae-pruning"],
)
def test_everything_is_drawn(runner, files, tmp_path, model, options, frames):
    result, out = run(runner, files, tmp_path, model, *options)
    assert result.exit_code == 0, (result.exception, result.stderr)
    assert result.stderr == ""
    video = "reuse.gif" if "--gif" in options else "reuse.mp4"
    assert sorted(path.name for path in out.iterdir()) == sorted(["index.html", video, *PICTURES])
    for name in PICTURES:
        assert PIL.Image.open(out / name).width == 1200
    if video.endswith("mp4"):
        assert len(read_frames(out / video)[0]) == frames
    else:
        assert PIL.Image.open(out / video).n_frames == frames
    first, *lines = result.stdout.splitlines()
    assert first.startswith(f"{frames} frames of {files / 'clip.mp4'}, ") and "fewer multiply-adds:" in first
    assert [line.split()[0] for line in lines] == [str(out / name) for name in ("index.html", video, *PICTURES)]
    page = (out / "index.html").read_text()
    assert "clip.mp4, " + model in page and "multiply-adds" in page


def test_a_second_run_replaces_what_is_there(runner, files, tmp_path):
    run(runner, files, tmp_path, "reuse", "--num-frames", "3")
    before = (tmp_path / "new" / "pictures" / "reuse.png").read_bytes()
    result, out = run(runner, files, tmp_path, "reuse", "--num-frames", "5")
    assert result.exit_code == 0
    assert (out / "reuse.png").read_bytes() != before
    assert len(list(out.iterdir())) == 6


def test_facts_are_those_of_the_run(files):
    settings = {"threshold": 0.3, "reduction": {"method": "tome", "r": 2}}
    pipelines = comparison.Pipelines.load(str(files / "reuse"), settings, with_dense=False, with_maps=True)
    result = comparison.compare(str(files / "clip.mp4"), pipelines, num_frames=8, with_maps=True)
    facts = _facts(result)
    assert facts["threshold"] == "0.3" and facts["mode"] == "causal"
    assert facts["tome"] == "r 2, schedule constant, proportional_attention True"
    assert facts["label"].startswith(result.reuse.labels[0]["label"])
    ratio = result.dense_multiply_adds / result.multiply_adds
    assert facts["cost"] == f"{result.computed_share:.1%} of the tokens computed, {ratio:.1f}x fewer multiply-adds"


@pytest.mark.parametrize(
    ("fps", "indices", "tubelet", "expected"),
    [(10.0, [0, 1, 2, 3], None, 10.0), (30.0, [0, 10, 20, 30], None, 3.0), (10.0, [0, 2, 4, 6], 2, 2.5)]
    + [(100.0, [0, 1], None, 30.0), (1.0, [0, 8], None, 2.0), (None, [0, 1], None, 2.0), (10.0, [3, 3], None, 2.0)],
    ids=str,
)
def test_videos_play_as_fast_as_what_they_show(files, fps, indices, tubelet, expected):
    pipelines = comparison.Pipelines.load(str(files / "reuse"), {}, with_dense=False)
    result = comparison.compare(str(files / "clip.mp4"), pipelines, num_frames=2)
    result.info = type(result.info)(**{**vars(result.info), "fps": fps})
    result.frame_indices, result.tubelet_size = indices, tubelet
    assert _frames_per_second(result) == pytest.approx(expected)


def a_file(folder):
    (folder / "out").write_text("something")


BAD = {
    "out-is-file": (a_file, ["--out", "out"], ["'out'", "it is a file"]),
    "out-below-file": (a_file, ["--out", "out/pictures"], ["out/pictures", "cannot be made"]),
    "nothing-to-draw": (None, ["--out", "new", "--mode", "off"], ["'off'", "--reduction"]),
    "video-missing": (None, ["nowhere.mp4", "--out", "new"], ["nowhere.mp4", "does not exist"]),
    "threshold-negative": (None, ["--out", "new", "--threshold", "-1"], ["--threshold is -1"]),
    "reduction-unknown": (None, ["--out", "new", "--reduction", "some"], ["no reduction 'some'"]),
}


@pytest.mark.parametrize(("prepare", "options", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_one_sentence(runner, files, tmp_path, monkeypatch, prepare, options, words):
    monkeypatch.chdir(tmp_path)
    if prepare is not None:
        prepare(tmp_path)
    video = [] if options[0] == "nowhere.mp4" else [str(files / "clip.mp4")]
    result = runner.invoke(app, ["visualize", *video, *options, "--model", str(files / "reuse")])
    assert result.exit_code == 2, (result.exception, result.stderr)
    assert result.stdout == ""
    for word in words:
        assert word in result.stderr
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1


def test_what_cannot_be_written_is_named(runner, files, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(visualization, "age_map", fail)
    result, out = run(runner, files, tmp_path, "reuse", "--num-frames", "3")
    assert result.exit_code == 2
    assert f"'{os.path.join(out, 'age.png')}' cannot be written (No space left on device)" in result.stderr
