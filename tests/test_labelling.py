"""Labels that a user chooses: the scores of transformers' own pipeline, in every family, and every wrong input."""

from __future__ import annotations

import copy
import gc
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForVideoClassification,
    AutoTokenizer,
    CLIPModel,
    CLIPVisionModel,
    ZeroShotImageClassificationPipeline,
    pipeline,
)

import hf_ttr
from hf_ttr.caching.snapshot import SnapshotError
from hf_ttr.streaming import StreamEngine, StreamOptions

from .streaming.engines import frames_of, run, scores
from .tiny import tiny_parent
from .tiny_texts import LABELS, PARENTS, image_processor, save_text_model, text_model, tokenizer


KINDS = sorted(PARENTS)
DTYPES = [torch.float32, torch.bfloat16]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
by_kind = pytest.mark.parametrize("kind", KINDS)


@cache
def frames() -> list[np.ndarray]:
    """Of a stream in which some patches change."""
    return frames_of(1, 6)


@cache
def expected(kind: str, dtype: torch.dtype, template: str = "This is a photo of {}.", seed: int = 0) -> torch.Tensor:
    """Scores of the stock pipeline, `(frames, labels)`, one frame after another."""
    stock: Any = ZeroShotImageClassificationPipeline(
        model=text_model(kind, dtype, seed), tokenizer=tokenizer(kind), image_processor=image_processor(kind)
    )
    found = []
    for frame in frames():
        answer = stock(Image.fromarray(frame), candidate_labels=LABELS, hypothesis_template=template)
        by_label = {one["label"]: one["score"] for one in answer}
        found.append([by_label[label] for label in LABELS])
    return torch.tensor(found, dtype=torch.float64)


def labelled(kind: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    return hf_ttr.zero_shot(text_model(kind, dtype), LABELS, tokenizer=tokenizer(kind), **options)


def processor(kind: str) -> hf_ttr.TemporalReuseVideoProcessor:
    return hf_ttr.TemporalReuseVideoProcessor.from_dict(image_processor(kind).to_dict())


def pixels(kind: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """`(1, frames, channels, height, width)`."""
    return processor(kind)(frames(), do_sample_frames=False, return_tensors="pt").pixel_values.to(dtype)


def as_scores(model: Any, logits: torch.Tensor) -> torch.Tensor:
    return (logits.softmax(-1) if model.exclusive else logits.sigmoid()).double()


@by_dtype
@by_kind
@torch.no_grad()
def test_mode_off_is_the_stock_pipeline_bit_for_bit(kind: str, dtype: torch.dtype) -> None:
    model = labelled(kind, dtype, config={"mode": "off"})
    one_by_one = torch.cat([model(frame[None, None]).frame_logits[0] for frame in pixels(kind, dtype)[0]])
    assert torch.equal(as_scores(model, one_by_one), expected(kind, dtype))
    assert len(expected(kind, dtype).unique()) > 3


@by_dtype
@by_kind
@torch.no_grad()
def test_threshold_0_and_many_frames_at_once_are_the_stock_pipeline_up_to_rounding(
    kind: str, dtype: torch.dtype
) -> None:
    tolerance = 2e-6 if dtype == torch.float32 else 3e-2
    for settings in ({"mode": "off"}, {"mode": "causal", "threshold": 0}, {"mode": "bidirectional", "threshold": 0}):
        model = labelled(kind, dtype, config=settings)
        output = model(pixels(kind, dtype))
        torch.testing.assert_close(
            as_scores(model, output.frame_logits[0]), expected(kind, dtype), atol=tolerance, rtol=0
        )
        assert torch.equal(output.logits, output.frame_logits.mean(1))


@by_kind
def test_a_stream_gets_the_scores_of_the_stock_pipeline(kind: str) -> None:
    results = {}
    for name, settings in {"off": {"mode": "off"}, "exact": {"threshold": 0}, "reuse": {"threshold": 0.3}}.items():
        engine = StreamEngine(labelled(kind, config=settings), processor(kind), StreamOptions())
        engine.add("door")
        results[name] = run(engine, "door", frames())
    # Sorted by label.
    order = [LABELS.index(label) for label in sorted(LABELS)]
    wanted = expected(kind, torch.float32)[:, order].float()
    assert torch.equal(scores(results["off"]), wanted)
    torch.testing.assert_close(scores(results["exact"]), wanted, atol=2e-6, rtol=0)
    assert all(result.computed_share == 1 for result in results["exact"])
    assert results["reuse"][1].computed_share < 0.1 < results["reuse"][0].computed_share
    assert sum(result.multiply_adds for result in results["reuse"]) < 0.8 * sum(
        result.dense_multiply_adds for result in results["reuse"]
    )


@by_kind
@torch.no_grad()
def test_another_template_is_that_of_the_stock_pipeline(kind: str) -> None:
    model = labelled(kind, hypothesis_template="{}", config={"mode": "off"})
    wanted = expected(kind, torch.float32, "{}")
    torch.testing.assert_close(as_scores(model, model(pixels(kind)).frame_logits[0]), wanted, atol=2e-6, rtol=0)
    assert (wanted - expected(kind, torch.float32)).abs().max() > 1e-3
    assert model.config.hypothesis_template == "{}"


@torch.no_grad()
def test_pictures_in_their_own_proportions_need_no_padding() -> None:
    wide = [np.concatenate([frame, frame[::-1]], 1)[:, :40] for frame in frames()]
    stock: Any = ZeroShotImageClassificationPipeline(
        model=text_model("siglip2"), tokenizer=tokenizer("siglip2"), image_processor=image_processor("siglip2")
    )
    seen = processor("siglip2")(wide, do_sample_frames=False, return_tensors="pt").pixel_values
    rows, columns = (side // 4 for side in seen.shape[-2:])
    assert rows < columns and rows * columns < 36
    for settings in ({"mode": "off"}, {"threshold": 0}):
        model = labelled("siglip2", config=settings)
        got = model(seen).frame_logits[0].sigmoid()
        for frame, own in zip(wide, got):
            answer = {one["label"]: one["score"] for one in stock(Image.fromarray(frame), candidate_labels=LABELS)}
            assert own.tolist() == pytest.approx([answer[label] for label in LABELS], abs=2e-6)


@by_kind
@torch.no_grad()
def test_steps_of_fixed_shapes_have_the_same_scores_where_everything_is_computed(kind: str) -> None:
    plain, fast = (labelled(kind, config={"mode": "causal", "threshold": 1e-6}) for _ in range(2))
    hf_ttr.optimize(fast, frozen=True, graphs=True, compile=False)
    caches: list[Any] = [None, None]
    for frame in pixels(kind)[0]:
        outputs = [model(frame[None, None], past_key_values=own) for model, own in zip((plain, fast), caches)]
        caches = [output.past_key_values for output in outputs]
        torch.testing.assert_close(outputs[1].logits, outputs[0].logits, atol=1e-5, rtol=0)
    assert fast.video_encoder.captured_steps is not None


@by_kind
@torch.no_grad()
def test_a_checkpoint_by_its_name_is_the_model_in_memory(kind: str, tmp_path: Path) -> None:
    folder = save_text_model(kind, tmp_path)
    by_name = hf_ttr.zero_shot(folder, LABELS, config={"threshold": 0.2})
    own = AutoTokenizer.from_pretrained(folder)
    in_memory = hf_ttr.zero_shot(text_model(kind), LABELS, config={"threshold": 0.2}, tokenizer=own)
    assert type(by_name) is type(in_memory) and not by_name.training and not in_memory.training
    torch.testing.assert_close(by_name(pixels(kind)).logits, in_memory(pixels(kind)).logits, atol=1e-5, rtol=0)
    assert by_name.config.id2label == dict(enumerate(LABELS)) and by_name.config.num_labels == 3
    assert by_name.config.label2id == {label: number for number, label in enumerate(LABELS)}


@by_dtype
@by_kind
@torch.no_grad()
def test_it_is_saved_without_text_tower_and_tokenizer(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = labelled(kind, dtype, config={"mode": "causal", "threshold": 0.2})
    model.save_pretrained(tmp_path / "edge")
    text_model(kind, dtype).save_pretrained(tmp_path / "whole")
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("edge", "whole")]
    assert sizes[0] < 0.8 * sizes[1]
    assert sorted(path.name for path in (tmp_path / "edge").iterdir()) == [
        *("config.json", "import_hf_ttr.py", "model.safetensors"),
    ]
    output = model(pixels(kind, dtype))
    for loader in (type(model), AutoModelForVideoClassification):
        loaded, report = loader.from_pretrained(tmp_path / "edge", dtype=dtype, output_loading_info=True)
        assert type(loaded) is type(model) and not any(report.values())
        tolerance = 1e-5 if dtype == torch.float32 else 0.03
        torch.testing.assert_close(loaded(pixels(kind, dtype)).logits, output.logits, atol=tolerance, rtol=0)
        assert loaded.config.id2label == model.config.id2label
        assert loaded.config.problem_type == model.config.problem_type
    code = loaded.config.auto_map["AutoModelForVideoClassification"]
    assert code == f"import_hf_ttr.{type(model).__name__}"


def test_weights_are_shared_and_the_text_tower_is_let_go() -> None:
    parent: Any = text_model("clip")
    tower = weakref.ref(parent.text_model)
    model: Any = hf_ttr.zero_shot(parent, LABELS, tokenizer=tokenizer("clip"))
    assert model.visual_projection is parent.visual_projection and model.logit_scale is parent.logit_scale
    patches = "embeddings.patch_embedding"
    assert model.vision_model.get_submodule(patches) is parent.vision_model.get_submodule(patches)
    assert type(parent) is CLIPModel and type(parent.vision_model) is CLIPVisionModel
    del parent
    gc.collect()
    assert tower() is None


@torch.no_grad()
def test_other_labels_of_the_same_model_go_on_with_the_same_stream() -> None:
    whole = hf_ttr.with_temporal_reuse(text_model("clip"), {"mode": "causal", "threshold": 0.2})
    first = hf_ttr.zero_shot(whole, LABELS, tokenizer=tokenizer("clip"))
    second: Any = hf_ttr.zero_shot(whole, ["a car", "a cat"], tokenizer=tokenizer("clip"))
    assert second.config.temporal_reuse.threshold == 0.2
    video = pixels("clip")
    cache = first(video[:, :3]).past_key_values
    onward = second(video[:, 3:], past_key_values=cache)
    assert onward.logits.shape == (1, 2)
    torch.testing.assert_close(onward.frame_logits, second(video).frame_logits[:, 3:], atol=1e-5, rtol=0)
    identities = [
        StreamEngine(model, processor("clip"), StreamOptions()).identity()
        for model in (first, second, hf_ttr.zero_shot(whole, LABELS[::-1], tokenizer=tokenizer("clip")))
    ]
    assert len({identity["labels"] for identity in identities}) == 3
    assert len({identity["model"] for identity in identities}) == 3


@by_kind
def test_a_stream_goes_on_from_a_file_with_the_same_labels_alone(kind: str, tmp_path: Path) -> None:
    engine = StreamEngine(labelled(kind), processor(kind), StreamOptions())
    engine.add("door")
    for number, frame in enumerate(frames()[:3]):
        engine.push("door", frame, index=number, time=number / 25)
        engine.step()
    engine.save("door", tmp_path / "door.safetensors")
    other = StreamEngine(labelled(kind), processor(kind), StreamOptions())
    other.load("door", tmp_path / "door.safetensors")
    assert torch.equal(scores(run(other, "door", frames(), 3)), scores(run(engine, "door", frames(), 3)))
    model = hf_ttr.zero_shot(text_model(kind), ["a car", "a cat"], tokenizer=tokenizer(kind))
    with pytest.raises(SnapshotError):
        StreamEngine(model, processor(kind), StreamOptions()).load("door", tmp_path / "door.safetensors")


def test_settings_given_for_a_checkpoint_are_merged_with_its_own(tmp_path: Path) -> None:
    whole = hf_ttr.with_temporal_reuse(text_model("clip"), {"mode": "causal", "max_age": 7})
    whole.save_pretrained(tmp_path)
    tokenizer("clip").save_pretrained(tmp_path)
    model: Any = hf_ttr.zero_shot(str(tmp_path), LABELS, config={"threshold": 0.3})
    reuse = model.config.temporal_reuse
    assert (reuse.mode, reuse.max_age, reuse.threshold) == ("causal", 7, 0.3)
    assert model.config.vision_config.temporal_reuse is model.config.temporal_reuse


def test_the_pipeline_takes_labels_in_each_call_or_for_good(tmp_path: Path) -> None:
    folder = save_text_model("siglip", tmp_path)
    video = np.stack(frames())
    off = {"temporal_reuse": {"mode": "off"}}
    wanted = labelled("siglip", config={"mode": "off"})(pixels("siglip")).logits[0].sigmoid().tolist()
    for task in ("video-classification", "video-classification-reuse"):
        pipe: Any = pipeline(task, model=folder, model_kwargs=off)
        answers = pipe(video, candidate_labels=LABELS, num_frames=6)
        assert {one["label"]: one["score"] for one in answers} == pytest.approx(dict(zip(LABELS, wanted)), abs=2e-6)
        assert pipe([video, video], candidate_labels=LABELS, num_frames=6) == [answers, answers]
        other = pipe(video, candidate_labels=["a car"], hypothesis_template="{}", top_k=1)
        assert [one["label"] for one in other] == ["a car"]
        results = list(pipe.stream(video, candidate_labels=LABELS))
        streamed = [
            [{one["label"]: one["score"] for one in result.labels}[label] for label in LABELS] for result in results
        ]
        torch.testing.assert_close(
            torch.tensor(streamed).double(), expected("siglip", torch.float32), atol=2e-6, rtol=0
        )
        for call in (pipe, pipe.stream):
            with pytest.raises(ValueError, match="reads its labels; pass what may be seen as candidate_labels"):
                call(video)
    fixed: Any = pipeline("video-classification", model=folder, model_kwargs=off, candidate_labels=LABELS)
    assert fixed(video, num_frames=6) == answers
    assert not fixed.model.has_text_tower
    with pytest.raises(ValueError, match="holds the labels that were chosen when it was made, and no text tower"):
        fixed(video, candidate_labels=["a car", "a cat"])
    fixed.save_pretrained(tmp_path / "edge")
    edge: Any = pipeline("video-classification", model=str(tmp_path / "edge"))
    assert edge(video, num_frames=6) == answers


def test_the_pipeline_takes_a_model_in_memory_with_its_tokenizer() -> None:
    pipe: Any = pipeline(
        "video-classification",
        model=text_model("clip"),
        tokenizer=tokenizer("clip"),
        video_processor=processor("clip"),
    )
    (found,) = pipe(np.stack(frames()), candidate_labels=LABELS, top_k=1)
    assert found["label"] in LABELS
    # The same labels are not read again.
    assert pipe.with_labels(LABELS) is pipe.with_labels(list(LABELS))


@pytest.mark.parametrize("name", ["text_projection.weight", "text_model.final_layer_norm.bias"])
def test_labels_are_read_again_by_weights_that_were_changed(name: str) -> None:
    model = copy.deepcopy(text_model("clip"))
    pipe: Any = pipeline(
        "video-classification", model=model, tokenizer=tokenizer("clip"), video_processor=processor("clip")
    )
    before = pipe.with_labels(LABELS)
    weight = pipe.model.get_parameter(name)
    with torch.no_grad():
        weight.neg_()
        weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
    after = pipe.with_labels(LABELS)
    fresh = hf_ttr.zero_shot(pipe.model, LABELS, tokenizer=tokenizer("clip"))
    assert torch.equal(after.model.text_model.features, fresh.text_model.features)
    assert not torch.equal(after.model.text_model.features, before.model.text_model.features)
    weight.data = weight.data + 1.0
    assert pipe.with_labels(LABELS) is not after


def test_labels_are_read_by_weights_that_do_not_count_their_changes() -> None:
    with torch.inference_mode():
        model = copy.deepcopy(text_model("clip"))
    pipe: Any = pipeline(
        "video-classification", model=model, tokenizer=tokenizer("clip"), video_processor=processor("clip")
    )
    assert model.get_parameter("text_projection.weight").is_inference()
    assert pipe.with_labels(LABELS) is pipe.with_labels(LABELS)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"candidate_labels": []}, "holds no label; pass what may be seen"),
    "a text": ({"candidate_labels": "a cat"}, "is 'a cat', but must be a list of texts"),
    "numbers": ({"candidate_labels": [1, 2]}, "must be a list of texts"),
    "not a list": ({"candidate_labels": 3}, "is 3, but must be a list of texts"),
    "empty": ({"candidate_labels": ["a cat", " "]}, "label 2 of candidate_labels is empty; leave it out"),
    "twice": ({"candidate_labels": ["a cat", "a dog", "a cat"]}, "'a cat' is in candidate_labels more than once"),
    "one": ({"candidate_labels": ["a cat"]}, "whose score would be 1 whatever is seen"),
    "no place": (
        {"hypothesis_template": "a photo"},
        "hypothesis_template is 'a photo', but must be a text with one {}",
    ),
    "two places": ({"hypothesis_template": "{} {}"}, "must be a text with one {} in it"),
    "a name": ({"hypothesis_template": "{label}"}, "must be a text with one {} in it"),
    "an open brace": ({"hypothesis_template": "{"}, "must be a text with one {} in it"),
    "long": ({"candidate_labels": ["a cat", "a" * 70]}, "tokens, but the model reads at most 64; shorten it."),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG)
def test_wrong_labels_are_refused_in_one_sentence(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:
        hf_ttr.zero_shot(text_model("clip"), **{"candidate_labels": LABELS, "tokenizer": tokenizer("clip"), **options})
    assert words in str(error.value) and str(error.value).endswith(".") and "\n" not in str(error.value)


def test_one_label_of_a_sigmoid_model_is_fine_and_long_ones_are_cut_off() -> None:
    model: Any = hf_ttr.zero_shot(text_model("siglip"), ["a" * 70], tokenizer=tokenizer("siglip"))
    assert model(pixels("siglip")).logits.shape == (1, 1)
    assert model.config.problem_type == "multi_label_classification"


def test_a_model_with_labels_of_its_own_is_refused(tmp_path: Path) -> None:
    vit = tiny_parent()
    vit.save_pretrained(tmp_path)
    video = np.stack(frames())
    pipe: Any = pipeline("video-classification-reuse", model=vit, video_processor=processor("clip"))
    for call in (
        lambda: hf_ttr.zero_shot(vit, LABELS),
        lambda: hf_ttr.zero_shot(str(tmp_path), LABELS),
        lambda: pipe(video, candidate_labels=LABELS),
        lambda: pipe.stream(video, candidate_labels=LABELS),
        lambda: pipeline(
            "video-classification", model=vit, video_processor=processor("clip"), candidate_labels=LABELS
        ),
    ):
        with pytest.raises(
            ValueError,
            match="has the labels that it was trained with, and no text tower that could read others; leave "
            "candidate_labels out, or pass a CLIP, MetaCLIP 2, SigLIP or SigLIP 2 with its text tower.$",
        ):
            call()


def test_a_model_without_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^there is no tokenizer for the labels beside .*; pass the one "):
        hf_ttr.zero_shot(text_model("clip"), LABELS)
