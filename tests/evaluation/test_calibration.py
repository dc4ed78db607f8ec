from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import hf_ttr
from hf_ttr.cli import app
from hf_ttr.evaluation import DataError, Protocol
from hf_ttr.evaluation.calibration import (
    Measured,
    Measurements,
    Target,
    calibrate,
    choose,
    draw_curve,
    measure_videos,
    point_of,
)

from ..tiny import tiny_parent, tiny_videomae
from .videos import make_folder


def measurements(videos: int = 40, agreement_at: dict[float, float] | None = None, seed: int = 0) -> Measurements:
    """Videos of two clips of 50 frames, each of which agrees by chance."""
    random = np.random.default_rng(seed)
    found: Measurements = {}
    for number in range(videos):
        own = found[f"{number:03}.mp4"] = {}
        for threshold, agreement in (agreement_at or {0.1: 1.0, 0.2: 0.99, 0.4: 0.9}).items():
            shares = random.binomial(50, agreement, 2) / 50
            spent = int(1000 / (1 + 10 * threshold))
            own[threshold] = [Measured(50, share, threshold / 10, spent, 1000) for share in shares.tolist()]
    return found


def test_points_of_the_curve() -> None:
    two = {
        "a": {0.1: [Measured(4, 1.0, 0.1, 50, 100), Measured(4, 0.5, 0.3, 100, 100)]},
        "b": {0.1: [Measured(4, 0.25, 0.4, 25, 100)]},
    }
    point = point_of(two, 0.1, 0.95)
    assert (point.threshold, point.agreement, point.kl) == (0.1, 0.5, pytest.approx(0.3))
    assert point.saving == pytest.approx(300 / 175)
    assert point.agreement_bound < point.agreement and point.kl_bound > point.kl


def test_where_all_agree_the_bound_is_still_below() -> None:
    point = point_of(measurements(5, {0.1: 1.0}), 0.1, 0.95)
    # 500 frames without a miss: Wilson's one-sided bound is n / (n + z^2), z = 1.645; of others, sqrt(2) as far away.
    bound = 1 - 2**0.5 * (1 - 500 / (500 + 1.6449**2))
    assert point.agreement == 1 and point.agreement_bound == pytest.approx(bound, abs=1e-4)


@pytest.mark.parametrize(
    "target, expected",
    [
        (Target(agreement=0.995), 0.1),
        (Target(agreement=0.98), 0.2),
        (Target(agreement=0.85), 0.4),
        (Target(agreement=0.9999), None),
        (Target(kl=0.015), 0.1),
        (Target(kl=0.03), 0.2),
        (Target(agreement=0.85, kl=0.03), 0.2),
        (Target(kl=0.001), None),
    ],
    ids=str,
)
def test_the_highest_threshold_that_keeps_the_promise(target: Target, expected: float | None) -> None:
    chosen, curve = choose(measurements(), target)
    assert chosen == expected and [point.threshold for point in curve] == [0.1, 0.2, 0.4]


def test_a_lucky_threshold_behind_a_bad_one_is_not_taken() -> None:
    chosen, _ = choose(measurements(agreement_at={0.1: 1.0, 0.2: 0.8, 0.4: 1.0}), Target(agreement=0.95))
    assert chosen == 0.1


@pytest.mark.parametrize("agreement, confidence", [(0.99, 0.95), (0.95, 0.95), (0.9, 0.8), (0.999, 0.99)])
def test_frames_that_a_target_takes(agreement: float, confidence: float) -> None:
    target = Target(agreement=agreement, confidence=confidence)
    needed = target.frames_needed

    def bound(frames: int) -> float:
        measured = {"a.mp4": {0.1: [Measured(frames, 1.0, 0.0, 1, 2)]}, "b.mp4": {0.1: [Measured(1, 1.0, 0.0, 1, 2)]}}
        return point_of(measured, 0.1, confidence).agreement_bound

    # What is said before is what comes of so many that all agree, and of no fewer.
    assert bound(needed - 1) >= agreement > bound(needed - 2)
    assert target.highest_agreement(needed) == pytest.approx(bound(needed - 1), abs=1e-9)


def test_what_can_be_promised_and_what_more_would_take() -> None:
    shares = (0.98, 0.96, 1.0, 1.0, 1.0, 0.98)
    few = {f"{number}.mp4": {0.1: [Measured(50, share, 0.01, 1, 2)]} for number, share in enumerate(shares)}
    target = Target(agreement=0.98)
    done = calibrate(few, target, held_out=0)
    assert done.threshold is None and done.check is None and done.is_kept is None
    assert done.best == done.curve[0] and done.growth is not None and done.growth > 4
    # As many videos as were said, of which the same is measured, are about enough; a quarter of them is not.
    copies = math.ceil(done.growth)
    more = {f"{copy}-{name}": own for name, own in few.items() for copy in range(copies)}
    assert calibrate(more, target, held_out=0).threshold == 0.1
    quarter = {name: own for name, own in more.items() if int(name.split("-")[0]) < copies // 4}
    assert calibrate(quarter, target, held_out=0).threshold is None
    # What is measured is itself no better: nothing helps.
    assert calibrate(few, Target(agreement=0.9999), held_out=0).growth is None
    assert calibrate(few, Target(kl=0.01), held_out=0).growth is None


def test_the_promise_is_checked_on_others() -> None:
    every = measurements()
    done = calibrate(every, Target(agreement=0.98), held_out=0.5, seed=3)
    assert done.threshold == 0.2 and done.is_kept and done.check is not None
    assert len(done.videos) == len(done.held_out) == 20 and not set(done.videos) & set(done.held_out)
    assert done.check == point_of({name: every[name] for name in done.held_out}, 0.2, 0.95)
    assert calibrate(every, Target(agreement=0.98), seed=3) == done
    assert calibrate(every, Target(agreement=0.98), seed=4).videos != done.videos
    # On videos that are worse it is not kept, and that is said.
    for name in done.held_out:
        every[name] = measurements(1, {0.1: 0.9, 0.2: 0.5, 0.4: 0.1})["000.mp4"]
    assert calibrate(every, Target(agreement=0.98), seed=3).is_kept is False
    none = calibrate(every, Target(agreement=0.98), held_out=0.0)
    assert none.check is None and none.is_kept is None and none.held_out == []


def test_promises_are_kept_on_random_halves() -> None:
    kept = [calibrate(measurements(seed=seed), Target(agreement=0.98), seed=seed).is_kept for seed in range(40)]
    assert sum(map(bool, kept)) >= 36


def test_too_few_videos() -> None:
    with pytest.raises(DataError, match="there are 3 videos, too few to say something about others"):
        calibrate(measurements(3), Target(agreement=0.9))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "a target is an agreement, a kl, or both; give one."),
        ({"agreement": 1.5}, "agreement is 1.5, but must be a share above 0 and below 1."),
        ({"agreement": 1}, "agreement is 1, which no number of frames can promise"),
        ({"kl": 0.0}, "kl is 0.0, but must be a finite number above 0."),
        ({"kl": float("inf")}, "kl is inf, but must be a finite number above 0."),
        ({"kl": 0.1, "confidence": 0.5}, "confidence is 0.5, but must be above 0.5 and below 1."),
    ],
    ids=["nothing", "agreement", "certainty", "kl", "any-kl", "confidence"],
)
def test_wrong_targets(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Target(**settings)


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    from PIL import Image

    draw_curve(calibrate(measurements(), Target(agreement=0.98, kl=0.03)), str(tmp_path / "curve.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]
    assert Image.open(tmp_path / "curve.png").width == 880


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibration")
    make_folder(folder / "videos", 6)
    for name, parent in (("vit", tiny_parent()), ("other", tiny_parent(1)), ("videomae", tiny_videomae())):
        model = parent if name == "videomae" else hf_ttr.with_temporal_reuse(parent, {"threshold": 0.3})
        model.save_pretrained(folder / name)
        hf_ttr.TemporalReuseVideoProcessor(
            size={"height": 24, "width": 24}, do_center_crop=False, num_frames=8
        ).save_pretrained(folder / name)
    return folder


@torch.no_grad()
def test_what_is_measured_is_what_the_model_says(files: Path) -> None:
    model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(files / "vit")
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(files / "vit")
    videos = sorted((files / "videos").rglob("*.mp4"))[:2]
    protocol = Protocol(num_clips=2, num_frames=4, frame_sampling_rate=1)
    found, broken = measure_videos(model, processor, videos, protocol, (0.1, 0.6))
    assert broken == {} and list(found) == [str(video) for video in videos]
    for video in videos:
        for number, clip in enumerate(protocol.pixel_values(processor, video)):
            dense = model(clip[None], temporal_reuse={"mode": "off"}).frame_logits[0].double().log_softmax(-1)
            for threshold in (0.1, 0.6):
                out = model(clip[None], temporal_reuse={"threshold": threshold})
                got = out.frame_logits[0].double().log_softmax(-1)
                one = found[str(video)][threshold][number]
                assert one.agreement == (dense.argmax(-1) == got.argmax(-1)).double().mean().item()
                assert one.kl == pytest.approx((dense.exp() * (dense - got)).sum(-1).mean().item(), abs=1e-9)
                assert (one.frames, one.multiply_adds) == (4, out.reuse.multiply_adds.item())
    assert model.config.temporal_reuse.threshold == 0.3


@torch.no_grad()
def test_labels_each_by_themselves_agree_and_diverge_as_such(files: Path) -> None:
    model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(files / "vit")
    model.config.problem_type = "multi_label_classification"
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(files / "vit")
    video = min((files / "videos").rglob("*.mp4"))
    protocol = Protocol(num_clips=1, num_frames=4, frame_sampling_rate=1)
    ((measured,),) = ([by[0.6] for by in measure_videos(model, processor, [video], protocol, (0.6,))[0].values()],)
    clip = protocol.pixel_values(processor, video)
    dense = model(clip, temporal_reuse={"mode": "off"}).frame_logits[0].double()
    got = model(clip, temporal_reuse={"threshold": 0.6}).frame_logits[0].double()
    apart = torch.distributions.kl_divergence(
        torch.distributions.Bernoulli(logits=dense), torch.distributions.Bernoulli(logits=got)
    )
    assert measured[0].kl == pytest.approx(apart.sum(-1).mean().item(), abs=1e-9)
    assert measured[0].agreement == ((dense > 0) == (got > 0)).all(-1).double().mean().item()


def test_numbers_have_no_labels_to_agree_on(files: Path) -> None:
    model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(files / "vit")
    model.config.problem_type = "regression"
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(files / "vit")
    video = min((files / "videos").rglob("*.mp4"))
    protocol = Protocol(num_clips=1, num_frames=4, frame_sampling_rate=1)
    with pytest.raises(DataError, match="the model gives numbers and no labels .* has no meaning; give a kl"):
        measure_videos(model, processor, [video], protocol, (0.6,), target=Target(agreement=0.9))
    found, _ = measure_videos(model, processor, [video], protocol, (0.6,), target=Target(kl=0.1))
    assert found[str(video)][0.6][0].kl >= 0


@pytest.mark.parametrize("where", ["dense", "reuse"])
def test_scores_that_are_nan_keep_no_promise(files: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(files / "vit")
    processor = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(files / "vit")
    videos = sorted((files / "videos").rglob("*.mp4"))[:4]
    own = type(model).forward

    def forward(self: Any, pixels: torch.Tensor, temporal_reuse: Any = None, **options: Any) -> Any:
        out = own(self, pixels, temporal_reuse=temporal_reuse, **options)
        if isinstance(temporal_reuse, dict) == (where == "dense"):
            out.frame_logits = out.frame_logits * float("nan")
        return out

    monkeypatch.setattr(type(model), "forward", forward)
    protocol = Protocol(num_clips=1, num_frames=4, frame_sampling_rate=1)
    if where == "dense":
        with pytest.raises(
            DataError, match="none of the 4 videos can be used; the first: The dense model's scores are"
        ):
            measure_videos(model, processor, videos, protocol, (0.1,))
        return
    found, broken = measure_videos(model, processor, videos, protocol, (0.1,))
    assert broken == {}
    for target in (Target(kl=1e9), Target(agreement=0.01)):
        done = calibrate(found, target)
        assert done.threshold is None and (target.kl is None or done.growth is None)
        json.dumps(done.to_dict(), allow_nan=False)


@pytest.mark.usefixtures("quick")
def test_videos_that_cannot_be_read_are_recorded_and_left_out(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    folder = tmp_path / "videos"
    shutil.copytree(files / "videos", folder)
    (folder / "noise.mp4").write_bytes(b"noise" * 100)
    (folder / "._fork.mp4").write_bytes(b"resource fork")
    (folder / "broken.mov").symlink_to(tmp_path / "nowhere")
    (folder / "d.mp4").mkdir()
    (folder / "notes.txt").write_text("hello")
    with av.open(str(folder / "sound.webm"), "w", format="wav") as sound:
        stream = sound.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        sound.mux(stream.encode(frame))
    arguments = ["--model", str(files / "vit"), "--videos", str(folder), "--target-kl", "10", "--num-clips", "1"]
    result = CliRunner().invoke(app, ["calibrate", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, (result.output, result.exception)
    done = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert len(done["videos"]) + len(done["held_out"]) == 6
    assert {Path(name).name for name in done["broken"]} == {"noise.mp4", "broken.mov", "sound.webm"}
    assert "Warning: 3 of 9 videos could not be used." in result.stderr
    assert "Warning: 1 file is no video, and left out; the first: notes.txt." in result.stderr
    assert "has no video stream (it holds: audio)" in result.stderr


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["vit", "videomae"])
def test_the_command(files: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    arguments = ["--model", str(files / name), "--videos", str(files / "videos"), "--target-agreement", "0.5"]
    before = json.loads((files / name / "config.json").read_text())
    update = ["--update"] if name == "vit" else []
    result = CliRunner().invoke(
        app, ["calibrate", *arguments, "--out", str(tmp_path / "out"), "--confidence", "0.7", *update]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    done = json.loads((tmp_path / "out" / "calibration.json").read_text())
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"calibration.json", "curve.png", "temporal_reuse.json", "measurements"}
    settings = hf_ttr.TemporalReuseConfig(**json.loads((tmp_path / "out" / "temporal_reuse.json").read_text()))
    assert settings.threshold == done["threshold"] and len(done["videos"]) == len(done["held_out"]) == 3
    after = json.loads((files / name / "config.json").read_text())
    if name == "vit":
        assert after.pop("temporal_reuse") == {**before.pop("temporal_reuse"), "threshold": done["threshold"]}
    assert after == before


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--target-agreement", "0.9", "--videos", "missing"], "The folder of videos 'missing' does not exist"),
        (["--target-agreement", "0.9", "--videos", "."], "The folder '.' holds no video; pass another."),
        (["--videos", "VIDEOS"], "A target is an agreement, a kl, or both; give one."),
        (
            ["--videos", "VIDEOS", "--target-kl", "0.1", "--mode", "off"],
            "--mode is 'off', in which a threshold",
        ),
        (["--videos", "VIDEOS", "--target-kl", "0.1", "--held-out", "1"], "--held-out is 1, but must be a share"),
        (["--videos", "VIDEOS", "--target-kl", "0.1", "--seed", "-1"], "--seed is -1, but must be at least 0."),
        (["--videos", "VIDEOS", "--target-agreement", "1"], "Agreement is 1, which no number of frames can promise"),
    ],
    ids=["missing", "empty", "target", "off", "held-out", "seed", "certainty"],
)
def test_bad_input_is_one_sentence(
    files: Path, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [str(files / "videos") if each == "VIDEOS" else each for each in arguments]
    result = CliRunner().invoke(app, ["calibrate", "--model", str(files / "vit"), "--out", "out", *arguments])
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few thresholds, and nothing drawn."""
    monkeypatch.setattr("hf_ttr.evaluation.calibration.THRESHOLDS", (0.4, 0.8))
    monkeypatch.setattr("hf_ttr.evaluation.calibration.draw_curve", lambda calibration, path: Path(path).touch())


def calibrate_command(files: Path, out: Path, *options: object) -> Any:
    arguments = ["--model", files / "vit", "--videos", files / "videos", "--out", out, "--num-clips", 1, *options]
    return CliRunner().invoke(app, ["calibrate", *map(str, arguments)])


def count_videos_that_are_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    own = Protocol.pixel_values

    def pixel_values(self: Protocol, processor: Any, source: Any) -> torch.Tensor:
        read.append(Path(source).name)
        return own(self, processor, source)

    monkeypatch.setattr(Protocol, "pixel_values", pixel_values)
    return read


@pytest.mark.usefixtures("quick")
def test_what_no_data_could_promise_is_refused_before_a_frame_is_read(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = count_videos_that_are_read(monkeypatch)
    result = calibrate_command(files, tmp_path / "out", "--target-agreement", 0.99)
    assert result.exit_code == 2 and read == [] and result.stderr.count("\n") == 1
    for part in (
        "takes at least 380 frames, but 3 of 6 videos (the others check the choice) x 1 clip x 16 frames are 48;",
        "pass --num-clips 8, or some 48 videos, or --target-agreement 0.9245 at most.",
    ):
        assert part in result.stderr
    result = calibrate_command(files, tmp_path / "out", "--target-agreement", 0.99, "--held-out", 0.9)
    assert "2 of 6 videos" in result.stderr and list((tmp_path / "out").iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_no_threshold_is_a_failure_and_nothing_is_updated(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    out, config = tmp_path / "out", files / "vit" / "config.json"
    assert calibrate_command(files, out, "--target-kl", 10).exit_code == 0
    assert (out / "temporal_reuse.json").exists()
    before = config.read_text()
    result = calibrate_command(files, out, "--target-kl", 1e-9, "--update")
    assert result.exit_code == 1 and config.read_text() == before
    # What an earlier one chose would be taken for what this one did.
    assert not (out / "temporal_reuse.json").exists()
    assert json.loads((out / "calibration.json").read_text())["threshold"] is None
    assert "No threshold keeps the promise. The lowest that was tried, 0.4, can promise a KL of" in result.stdout
    assert "More videos would not help" in result.stdout and "config.json is as it was" in result.stdout


@pytest.mark.usefixtures("quick")
def test_a_promise_that_is_not_kept_on_the_others_is_a_failure(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    monkeypatch.setattr(Target, "is_met", lambda self, found, by_bound: by_bound)
    before = (files / "vit" / "config.json").read_text()
    result = calibrate_command(files, tmp_path / "out", "--target-kl", 10, "--update")
    assert result.exit_code == 1 and "the promise is NOT kept" in result.stdout
    assert (files / "vit" / "config.json").read_text() == before
    assert not (tmp_path / "out" / "temporal_reuse.json").exists()


@pytest.mark.usefixtures("quick")
def test_what_was_measured_is_not_measured_again(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    out, folder = tmp_path / "out", tmp_path / "videos"
    folder.mkdir()
    videos = [Path(shutil.copy(path, folder)) for path in sorted((files / "videos").rglob("*.mp4"))[:4]]
    read = count_videos_that_are_read(monkeypatch)
    counted = Protocol.pixel_values

    def killed(self: Protocol, processor: Any, source: Any) -> torch.Tensor:
        if len(read) == 3:
            raise KeyboardInterrupt
        return counted(self, processor, source)

    def run(*options: object) -> list[str]:
        read.clear()
        result = calibrate_command(files, out, "--target-kl", 10, "--videos", folder, "--num-frames", 2, *options)
        assert result.exit_code == 0, (result.output, result.exception)
        return list(read)

    with monkeypatch.context() as patch:
        patch.setattr(Protocol, "pixel_values", killed)
        options = ("--target-kl", 10, "--videos", folder, "--num-frames", 2)
        assert calibrate_command(files, out, *options).exit_code == 130
    assert len(list((out / "measurements").iterdir())) == 3
    assert len(run()) == 1
    first = json.loads((out / "calibration.json").read_text())
    # Another target, seed or threshold of the model is of the same measurements.
    assert run("--target-agreement", 0.1, "--seed", 3, "--update") == run() == []
    assert json.loads((out / "calibration.json").read_text()) == first
    # Another video, another model, other settings and another choice of frames are not.
    videos[0].write_bytes(videos[1].read_bytes() + b"0")
    assert run() == [videos[0].name]
    assert len(run("--num-frames", 1)) == len(run("--mode", "causal")) == len(run("--reduction", "tome:r=2")) == 4
    assert len(run("--model", files / "other")) == 4
    # What is no measurement is measured.
    for path in (out / "measurements").iterdir():
        path.write_text(path.read_text().replace('"frames": 2', '"frames": "2"'))
    assert len(run()) == 4 and run() == []


@pytest.mark.usefixtures("quick")
def test_the_folder_for_the_results_is_made_first(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    read = count_videos_that_are_read(monkeypatch)
    result = calibrate_command(files, tmp_path / "file" / "out", "--target-kl", 10)
    assert result.exit_code == 2 and "/out' (Not a directory); pass another folder." in result.stderr
    assert read == [] and result.stderr.count("\n") == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("taken", ["calibration.json", "temporal_reuse.json", "curve.png"])
def test_files_of_others_are_not_replaced(files: Path, tmp_path: Path, taken: str) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed.")
    out = tmp_path / "out"
    out.mkdir()
    (out / taken).write_text('{"my": "only copy"}')
    arguments = [
        "--model",
        str(files / "vit"),
        "--videos",
        str(files / "videos"),
        "--target-kl",
        "10",
        "--num-clips",
        "1",
    ]
    result = CliRunner().invoke(app, ["calibrate", *arguments, "--out", str(out)])
    assert result.exit_code == 2 and f"'{out / taken}' is there already" in result.stderr
    assert (out / taken).read_text() == '{"my": "only copy"}' and len(list(out.iterdir())) == 1
    for more in (["--overwrite"], []):  # then it is a calibration, which another one may replace
        result = CliRunner().invoke(app, ["calibrate", *arguments, "--out", str(out), *more])
        assert result.exit_code == 0, result.output
        assert json.loads((out / "calibration.json").read_text())["made_by"] == "hf-ttr"
