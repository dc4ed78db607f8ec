from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    SiglipImageProcessorPil,
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoClassificationPipeline,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessorPil,
    ViTForImageClassification,
    ViTImageProcessorPil,
    pipeline,
)
from transformers.pipelines import PIPELINE_REGISTRY

import hf_ttr
from hf_ttr import (
    TemporalReuseVideoClassificationPipeline,
    TemporalReuseVideoProcessor,
    linear,
    with_temporal_reuse,
)
from hf_ttr.models.register import MODELS

from .streaming.engines import assert_same, frames_of, processor, run, tiny_engine, tiny_model
from .tiny import tiny_parent, tiny_videomae


ASSETS = Path(hf_ttr.__file__).parent / "assets"


def pipe_of(model: Any) -> TemporalReuseVideoClassificationPipeline:
    return TemporalReuseVideoClassificationPipeline(model, video_processor=processor())


def test_it_is_in_the_registry_and_can_be_chosen() -> None:
    assert "video-classification-reuse" in PIPELINE_REGISTRY.get_supported_tasks()
    by_task = pipeline("video-classification-reuse", model=str(ASSETS / "vit-demo"))
    by_class = pipeline(
        "video-classification",
        model=str(ASSETS / "vit-demo"),
        pipeline_class=TemporalReuseVideoClassificationPipeline,
    )
    by_name = pipeline("video-classification", model=str(ASSETS / "vit-demo"))
    video = str(ASSETS / "demo.mp4")
    stock = VideoClassificationPipeline(by_name.model, video_processor=by_name.video_processor)
    expected = stock([video, video], num_frames=8, top_k=3)
    for pipe in (by_name, by_task, by_class):
        assert type(pipe) is TemporalReuseVideoClassificationPipeline
        assert pipe([video, video], num_frames=8, top_k=3) == expected


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of plain checkpoints, with the processors that transformers writes."""
    folders = {}
    parents = {"vit": tiny_parent(), "videomae": tiny_videomae(), "half": tiny_videomae().half()}
    for name, model in parents.items():
        folder = tmp_path_factory.mktemp(name)
        model.save_pretrained(folder)
        kind = ViTImageProcessorPil if name == "vit" else VideoMAEImageProcessorPil
        size = {"height": 24, "width": 24} if name == "vit" else {"shortest_edge": 24}
        kind(size=size, crop_size={"height": 24, "width": 24}).save_pretrained(folder)
        folders[name] = str(folder)
    return folders


CLIP = str(ASSETS / "demo.mp4")


@pytest.mark.parametrize("task", ["video-classification", "video-classification-reuse"])
@pytest.mark.parametrize("kind", ["vit", "videomae"])
def test_a_plain_checkpoint_by_its_name(plain: dict[str, str], kind: str, task: str, caplog: Any) -> None:
    pipe = pipeline(task, model=plain[kind])
    assert type(pipe.model).__name__.startswith("TemporalReuse")
    assert isinstance(pipe.video_processor, TemporalReuseVideoProcessor)
    pixels = pipe.video_processor(CLIP, num_frames=pipe.model.config.num_frames, return_tensors="pt").pixel_values
    with torch.inference_mode():
        expected = pipe.model(pixels)
    assert expected.reuse is not None and expected.reuse.computed_share.item() < 1
    (found,) = pipe(CLIP, top_k=1)
    assert found["score"] == pytest.approx(expected.logits.softmax(-1).max().item(), abs=1e-6)
    said = [record.getMessage() for record in caplog.records if record.name == "hf_ttr.pipeline"]
    threshold = {"vit": 0.1, "videomae": 0.4}[kind]
    if task == "video-classification":
        (line,) = said
        assert f"bidirectional, threshold {threshold}" in line and "the dense model: model_kwargs=" in line
    else:
        assert said == []


@pytest.fixture
def image_processors_may_be_used(transformers_log: list[str]) -> Iterator[None]:
    """transformers calls it deprecated that its own video models come with processors of images."""
    yield
    transformers_log[:] = [line for line in transformers_log if "Using `image_processor`" not in line]


@pytest.mark.usefixtures("image_processors_may_be_used")
def test_mode_off_is_what_transformers_gives(plain: dict[str, str]) -> None:
    """The same frames and the same pixels, and so the same scores bit for bit."""
    off = pipeline("video-classification", model=plain["videomae"], model_kwargs={"temporal_reuse": {"mode": "off"}})
    dense = VideoClassificationPipeline(
        VideoMAEForVideoClassification.from_pretrained(plain["videomae"]),
        image_processor=VideoMAEImageProcessorPil.from_pretrained(plain["videomae"]),
    )
    assert off(CLIP) == dense(CLIP)
    assert off(CLIP, frame_sampling_rate=2) != dense(CLIP)


@pytest.mark.usefixtures("image_processors_may_be_used")
def test_models_that_were_made_before(plain: dict[str, str], caplog: Any) -> None:
    dense = VideoMAEForVideoClassification.from_pretrained(plain["videomae"])
    processor = VideoMAEImageProcessorPil.from_pretrained(plain["videomae"])
    pipe = pipeline("video-classification", model=dense, image_processor=processor)
    assert pipe.model is dense
    assert "runs dense" in caplog.text and "hf_ttr.with_temporal_reuse(model)" in caplog.text
    reuse = pipeline("video-classification-reuse", model=dense)  # its processor is found by its name
    assert reuse.model.classifier is dense.classifier and reuse(CLIP)
    images = ViTForImageClassification.from_pretrained(plain["vit"])
    assert type(pipeline("video-classification", model=images).model).__name__ == (
        "TemporalReuseViTForVideoClassification"
    )
    nowhere = with_temporal_reuse(tiny_parent())
    with pytest.raises(ValueError, match=r"no processor for the TemporalReuseViTFor.*pass the one that .* as vid"):
        pipeline("video-classification", model=nowhere)


@pytest.mark.usefixtures("image_processors_may_be_used")
def test_models_that_there_is_no_reuse_for(tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(MODELS, "temporal_reuse_timesformer")
    config = TimesformerConfig(
        image_size=24, patch_size=8, num_frames=2, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    TimesformerForVideoClassification(config).save_pretrained(tmp_path)
    VideoMAEImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 24, "width": 24}).save_pretrained(
        tmp_path
    )
    pipe = pipeline("video-classification", model=str(tmp_path))
    assert type(pipe.model) is TimesformerForVideoClassification and pipe.video_processor is None
    stock = VideoClassificationPipeline(pipe.model, image_processor=pipe.image_processor)
    assert pipe(CLIP) == stock(CLIP) and pipe(CLIP, num_frames=2, frame_sampling_rate=3) == stock(
        CLIP, num_frames=2, frame_sampling_rate=3
    )
    assert not [record for record in caplog.records if record.name == "hf_ttr.pipeline"]
    with pytest.raises(ValueError, match="there is no temporal reuse for a TimesformerForVideoClassification"):
        pipeline("video-classification-reuse", model=str(tmp_path))


@pytest.mark.parametrize("task", ["video-classification", "video-classification-reuse"])
def test_float16_is_float32_on_the_cpu_unless_it_is_wanted(plain: dict[str, str], task: str, caplog: Any) -> None:
    assert torch.accelerator.is_available() or pipeline(task, model=plain["half"]).model.dtype == torch.float32
    assert torch.accelerator.is_available() or "has float16 weights, which are loaded as float32" in caplog.text
    linear._warn_of_float16.cache_clear()
    kept = pipeline(task, model=plain["half"], dtype=torch.float16, device="cpu")
    assert kept.model.dtype == torch.float16
    kept(CLIP)
    assert "computes in float16 on the CPU" in caplog.text


def test_sampling_of_a_call() -> None:
    pipe = pipeline("video-classification", model=str(ASSETS / "vit-demo"))
    seen: list[Any] = []
    pipe.model.register_forward_pre_hook(lambda *call: seen.append(call[2]["pixel_values"]), with_kwargs=True)
    for rate in (1, 5, "spread"):
        pipe(CLIP, num_frames=4, frame_sampling_rate=rate)
        expected = pipe.video_processor(CLIP, num_frames=4, frame_sampling_rate=rate, return_tensors="pt")
        assert torch.equal(seen.pop(), expected.pixel_values)


@pytest.mark.parametrize("parent", [tiny_parent, tiny_videomae], ids=["vit", "videomae"])
def test_a_plain_model_gets_reuse(parent: Any) -> None:
    plain = parent()
    pipe = pipe_of(plain)
    assert type(pipe.model).__name__.startswith("TemporalReuse")
    assert pipe.model.classifier is plain.classifier
    results = list(pipe.stream(iter(frames_of(1, 8))))
    assert results and results[-1].stream == "stream 0"


@pytest.mark.parametrize("kind", ["frames", "windows"])
def test_stream_is_what_the_engine_says(kind: str) -> None:
    frames = frames_of(1, 17)
    options: dict[str, Any] = {"stride": 3, "verify_every": 6}
    engine = tiny_engine(kind, top_k=2, **options)
    engine.add("stream 0")
    results = list(pipe_of(tiny_model(kind)).stream(frames, top_k=2, **options))
    assert_same(results, run(engine, "stream 0", frames))
    assert all(len(one.labels) == 2 for one in results)


def test_names_of_streams() -> None:
    pipe = pipe_of(tiny_model())
    video = str(ASSETS / "demo.mp4")
    cases: list[tuple[Any, set[str]]] = [
        (video, {"demo.mp4"}),
        (Path(video), {"demo.mp4"}),
        ([video, Path(video), video], {"demo.mp4", "demo.mp4 (2)", "demo.mp4 (3)"}),
        ({"door": video, 7: frames_of(0, 2)}, {"door", "7"}),
        ({"path": video, "bytes": None}, {"stream 0"}),
        (Path(video).read_bytes(), {"stream 0"}),
        (frames_of(0, 2), {"stream 0"}),
    ]
    for source, names in cases:
        with pipe.stream(source, frame_sampling_rate=40) as streams:
            assert {result.stream for result in streams} == names


def test_an_image_processor_will_do() -> None:
    pipe = pipeline("video-classification-reuse", model=str(ASSETS / "vit-demo"))
    pipe.image_processor, pipe.video_processor = pipe.video_processor, None
    pipe.image_processor = hf_ttr.TemporalReuseImageProcessor.from_pretrained(ASSETS / "vit-demo")
    reference = pipeline("video-classification-reuse", model=str(ASSETS / "vit-demo"))
    frames = [torch.zeros(40, 30, 3, dtype=torch.uint8).numpy()] * 2
    assert_same(list(pipe.stream(frames)), list(reference.stream(frames)))
    assert isinstance(reference.video_processor, TemporalReuseVideoProcessor)


def test_wrong_calls_leave_nothing_open() -> None:
    pipe = pipe_of(tiny_model())
    with pytest.raises(TypeError, match="stream has no option 'windows'; the options are frame_sampling_rate, "):
        pipe.stream(frames_of(0, 1), windows=3)
    with pytest.raises(ValueError, match="stride is 0"):
        pipe.stream(frames_of(0, 1), stride=0)
    missing = re.escape("does not exist")
    closed: list[str] = []

    class Source(list):
        def close(self) -> None:
            closed.append("first")

    from hf_ttr.streaming import FrameSource, SourceError

    class Watched(FrameSource):
        def _frames(self) -> Any:
            yield from ()

        def close(self) -> None:
            closed.append(self.name)
            super().close()

    with pytest.raises(SourceError, match=missing):
        pipe.stream({"first": "/no/such/file.mp4", "second": "/no/such/other.mp4"})
    with pipe.stream({"first": Watched("first", False), "second": "/no/such/file.mp4"}) as streams:
        assert list(streams) == []
    assert set(closed) == {"first"} and missing in re.escape(str(streams.statistics["second"].error))


def test_scores_are_those_of_a_call() -> None:
    """For each kind of problem that transformers knows, and for what the pipeline was told."""
    frames = frames_of(0, 1)
    for problem, chosen in ((None, None), ("multi_label_classification", None), ("regression", None), (None, "none")):
        model = hf_ttr.with_temporal_reuse(tiny_parent(problem_type=problem), {"threshold": 0.3})
        processor = TemporalReuseVideoProcessor(size={"height": 24, "width": 24}, num_frames=1)
        options = {} if chosen is None else {"function_to_apply": chosen}
        pipe = pipeline("video-classification-reuse", model=model, video_processor=processor, **options)
        (result,) = pipe.stream(frames)
        called = pipe(torch.from_numpy(frames[0])[None].numpy(), num_frames=1)
        assert [entry["label"] for entry in result.labels] == [entry["label"] for entry in called]
        scores = [entry["score"] for entry in called]
        assert [entry["score"] for entry in result.labels] == pytest.approx(scores, abs=1e-5)


def test_names_hold_no_secrets_and_nothing_that_steers() -> None:
    pipe = pipe_of(tiny_model())
    frames = frames_of(0, 1)
    with pipe.stream({"rtsp://admin:pw@host": frames, "a\x1b[2Jb": frames}) as streams:
        assert {result.stream for result in streams} == {"rtsp://host", "a\\x1b[2Jb"}
    with pytest.raises(ValueError, match="two streams have the name 'rtsp://host'; give each its own"):
        pipe.stream({"rtsp://admin:pw@host": frames, "rtsp://host": frames})


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain ViT, and a preprocessor file of another class that makes the same pixels."""
    folder = tmp_path_factory.mktemp("plain")
    tiny_parent().save_pretrained(folder)
    settings = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def test_a_plain_folder_is_called_like_one_with_reuse(plain_folder: Path, tmp_path: Path) -> None:
    pipe = pipeline("video-classification-reuse", model=str(plain_folder))
    labels = pipe(str(ASSETS / "demo.mp4"), num_frames=4)
    assert len(labels) == 5 and sum(label["score"] for label in labels) == pytest.approx(1)
    with pipe.stream(str(ASSETS / "demo.mp4"), window=32) as streams:
        assert next(streams).label.startswith("LABEL_")
    # The pixels are those of the class that the folder names.
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    expected = SiglipImageProcessorPil.from_pretrained(plain_folder)(frame, return_tensors="np")["pixel_values"]
    found = pipe.video_processor([frame], return_tensors="np")["pixel_values"][0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("source", ["plain", "reuse"])
def test_it_is_saved_and_loaded(source: str, plain_folder: Path, tmp_path: Path) -> None:
    folder = str(plain_folder) if source == "plain" else str(ASSETS / "vit-demo")
    pipe = pipeline("video-classification-reuse", model=folder)
    video = str(ASSETS / "demo.mp4")
    expected = pipe(video, num_frames=4)
    pipe.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("pipeline*.py"))
    for task in ("video-classification-reuse", "video-classification"):
        assert pipeline(task, model=str(tmp_path))(video, num_frames=4) == expected
    # Where the package was not imported, the folder says where the model is.
    code = (
        "import json, sys; from transformers import pipeline; pipe = pipeline('video-classification', "
        "model=sys.argv[1], trust_remote_code=True); print(json.dumps(pipe(sys.argv[2], num_frames=4)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), video],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [label["label"] for label in found] == [label["label"] for label in expected]


def test_a_processor_that_makes_other_pixels_is_refused(plain_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(plain_folder, tmp_path / "model")
    settings = {"image_processor_type": "EfficientNetImageProcessor", "rescale_offset": True, "include_top": False}
    (tmp_path / "model" / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="class 'EfficientNetImageProcessor'.*pixels are not those"):
        pipeline("video-classification-reuse", model=str(tmp_path / "model"))
