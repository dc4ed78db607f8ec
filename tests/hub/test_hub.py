"""Plain checkpoints become checkpoints with reuse, go to the Hub and come back, with every weight as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import PIL.Image
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForVideoClassification,
    DeiTImageProcessorPil,
    VideoMAEForPreTraining,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessorPil,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

import hf_ttr
from hf_ttr import hub
from hf_ttr.cards.source import source_facts
from hf_ttr.hub.checkpoints import CheckpointError
from hf_ttr.hub.remote_code import LOADER
from hf_ttr.models.register import MODELS

from ..forks import Fork, Forks, forks
from ..hub_server import TOKEN, HubServer, hub_server
from ..models.cases import assert_same
from ..models.test_checkpoints_temporal_reuse_videomae import old_name as old_videomae_name
from ..models.test_checkpoints_temporal_reuse_vit import assert_nothing_to_report, old_name
from ..tiny import make_clip, tiny_parent, tiny_videomae


ROOT = Path(__file__).resolve().parents[2]
PROCESSOR = {"size": {"height": 24, "width": 24}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}
CLASSES = {
    "vit": (ViTForImageClassification, hf_ttr.TemporalReuseViTForVideoClassification),
    "videomae": (VideoMAEForVideoClassification, hf_ttr.TemporalReuseVideoMAEForVideoClassification),
}
VARIANTS = ("old-names", "new-names", "float16", "bfloat16", "mixed", "sharded")


def write_source(folder: Path, kind: str = "vit", variant: str = "new-names") -> Path:
    """A plain checkpoint with its processor, none of whose weights is zero."""
    model: Any = tiny_parent() if kind == "vit" else tiny_videomae()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    model.config.id2label = {index: f"class {index}" for index in range(5)}
    if variant in ("float16", "bfloat16"):
        model.to(getattr(torch, variant))
    model.config.dtype = variant if variant in ("float16", "bfloat16") else "float32"
    model.config.architectures = [type(model).__name__]
    if variant == "sharded":
        model.save_pretrained(folder, max_shard_size="20KB")
    else:
        model.config.save_pretrained(folder)
        weights = {name: weight.clone() for name, weight in model.state_dict().items()}
        if variant == "old-names":
            rename = old_name if kind == "vit" else old_videomae_name
            weights = {rename(name): weight for name, weight in weights.items()}
        if variant == "mixed":
            weights = {
                name: weight if "norm" in name else weight.to(torch.bfloat16) for name, weight in weights.items()
            }
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if kind == "vit":
        ViTImageProcessorPil(**PROCESSOR).save_pretrained(folder)
    else:
        VideoMAEImageProcessorPil(**PROCESSOR, crop_size=PROCESSOR["size"]).save_pretrained(folder)
    return folder


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {name: weight for path in folder.glob("*.safetensors") for name, weight in load_file(path).items()}


def clip_for(kind: str) -> torch.Tensor:
    return make_clip(batch=2, frames=8 if kind == "videomae" else 5)


@torch.no_grad()
def parent_logits(model: Any, clip: torch.Tensor) -> torch.Tensor:
    """Those of every frame of a ViT, or of the clip."""
    clip = clip.to(model.dtype)
    if isinstance(model, ViTForImageClassification):
        return model(clip.flatten(0, 1)).logits.unflatten(0, clip.shape[:2])
    return model(clip).logits


@torch.no_grad()
def reuse_logits(model: Any, clip: torch.Tensor) -> torch.Tensor:
    """The same of a model with reuse."""
    output = model(clip.to(model.dtype))
    return output.logits if output.get("frame_logits") is None else output.frame_logits


# ---------------------------------------------------------------------------------------------------------------------
# Conversion
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", CLASSES)
def test_weights_labels_and_logits_stay(kind: str, variant: str, tmp_path: Path, transformers_log: list[str]) -> None:
    source = write_source(tmp_path / "source", kind, variant)
    converted = hub.convert(source, tmp_path / "target", {"threshold": 0.3})

    expected, found = weights_of(source), weights_of(tmp_path / "target")
    assert expected.keys() == found.keys()
    # float16 is written in float32, which holds every number of it.
    is_cast = variant == "float16"
    assert converted.cast == (("float16", "float32") if is_cast else None)
    for name, weight in expected.items():
        assert found[name].dtype == (torch.float32 if is_cast else weight.dtype)
        assert torch.equal(weight, found[name]), name
    assert (len(list(source.glob("*.safetensors"))) > 3) == (variant == "sharded")
    # What is equal byte for byte is not uploaded twice.
    for path in [] if is_cast else source.glob("model*"):
        assert (tmp_path / "target" / path.name).read_bytes() == path.read_bytes()
    assert converted.weights_bytes == sum(path.stat().st_size for path in (tmp_path / "target").glob("model*"))

    plain_class, reuse_class = CLASSES[kind]
    transformers_log.clear()
    model, report = reuse_class.from_pretrained(
        tmp_path / "target", temporal_reuse={"mode": "off"}, output_loading_info=True
    )
    assert_nothing_to_report(report, transformers_log)
    plain = plain_class.from_pretrained(source, dtype=torch.float32 if is_cast else "auto")
    assert model.dtype == plain.dtype
    assert model.config.id2label == plain.config.id2label
    assert_same(reuse_logits(model, clip_for(kind)), parent_logits(plain, clip_for(kind)))
    assert converted.architecture == reuse_class.__name__
    assert (converted.source, converted.folder) == (str(source), str(tmp_path / "target"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_weights_are_written_in_the_dtype_that_is_asked_for(dtype: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", variant="sharded")
    converted = hub.convert(source, tmp_path / "target", dtype=dtype)
    found = weights_of(tmp_path / "target")
    assert {weight.dtype for weight in found.values()} == {getattr(torch, dtype)}
    assert converted.cast == (None if dtype == "float32" else ("float32", dtype))
    for name, weight in weights_of(source).items():
        assert torch.equal(found[name], weight.to(found[name].dtype))
    assert hf_ttr.TemporalReuseViTForVideoClassification.from_pretrained(tmp_path / "target").dtype == getattr(
        torch, dtype
    )
    modes = {path.stat().st_mode for path in (tmp_path / "target").iterdir()}
    assert len(modes) == 1, "others may read all of it, or nothing"
    index = json.loads((tmp_path / "target" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in found.values())
    # float16 that is asked for is kept, and what is kept is copied.
    again = hub.convert(tmp_path / "target", tmp_path / "again", dtype=dtype)
    assert again.cast is None and weights_of(tmp_path / "again").keys() == found.keys()


def test_weights_that_are_too_large_for_a_dtype_are_not_made_infinite(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    weights = weights_of(source)
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], 1e6)
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="its weight 'classifier.bias' is too large for float16"):
        hub.convert(source, tmp_path / "target", dtype="float16")
    with pytest.raises(CheckpointError, match="The dtype is 'int8', but must be one of float32, float16, bfloat16"):
        hub.convert(source, tmp_path / "target", dtype="int8")
    assert not (tmp_path / "target").exists()


SOURCE_CARDS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "whole": (
        "base_model: owner/base\nlicense: mit\ndatasets:\n- owner/data\n- 'no id!'",
        ("owner/base", "mit", ["owner/data"]),
    ),
    "lists": ("base_model:\n- owner/base\nlicense: cc-by-4.0\ndatasets: data", ("owner/base", "cc-by-4.0", ["data"])),
    "several": ("base_model:\n- owner/base\n- owner/other\nlicense:\n- mit", (None, None, [])),
    "strange": ("base_model: ../../etc/passwd\nlicense: '<b>'\ndatasets: {a: 1}", (None, None, [])),
    "broken": ("base_model: [", (None, None, [])),
    "text": ("just text", (None, None, [])),
}


@pytest.mark.parametrize(("metadata", "expected"), SOURCE_CARDS.values(), ids=SOURCE_CARDS)
def test_what_the_card_of_the_source_tells(metadata: str, expected: tuple[Any, ...], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n# A model\n")
    facts = source_facts(tmp_path)
    assert (facts.base_model, facts.license, facts.datasets) == expected
    assert source_facts(tmp_path / "nowhere" / "..").base_model != "nowhere"


def test_the_cache_of_the_hub_tells_the_base_model(tmp_path: Path) -> None:
    for name, expected in (("models--owner--some-model", "owner/some-model"), ("models--gpt2", "gpt2")):
        folder = tmp_path / name / "snapshots" / "0123abcd"
        folder.mkdir(parents=True)
        assert source_facts(folder).base_model == expected


def test_what_is_converted_has_a_card_that_knows_its_source(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source")
    (source / "README.md").write_text("---\nbase_model: owner/base\nlicense: mit\n---\n# A model\n")
    converted = hub.convert(source, tmp_path / "target")
    assert (converted.base_model, converted.license) == ("owner/base", "mit")
    card = ModelCard.load(tmp_path / "target" / "README.md")
    assert (card.data.base_model, card.data.license, card.data.library_name) == ("owner/base", "mit", "hf-ttr")
    assert 'model="target"' in card.text and "Nothing was measured of this checkpoint yet" in card.text
    # And so has what is made of that, for its place on the Hub.
    again = hub.convert(tmp_path / "target", tmp_path / "again", repo_id="me/clips")
    assert (again.base_model, again.license) == ("owner/base", "mit")
    assert 'model="me/clips"' in (tmp_path / "again" / "README.md").read_text()


@pytest.mark.parametrize("kind", CLASSES)
def test_config_says_how_to_reuse_and_where_the_code_is(kind: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", kind)
    settings = {"mode": "causal", "compute_budget": 0.4, "reduction": [{"method": "tome", "r": 2}]}
    hub.convert(source, tmp_path / "target", settings)
    config = json.loads((tmp_path / "target" / "config.json").read_text())
    assert config["model_type"] == f"temporal_reuse_{kind}"
    assert config["architectures"] == [CLASSES[kind][1].__name__]
    assert config["temporal_reuse"]["compute_budget"] == 0.4
    assert config["temporal_reuse"]["mode"] == "causal"
    assert config["temporal_reuse"]["reduction"][0]["r"] == 2
    plain = json.loads((source / "config.json").read_text())
    changed = {"model_type", "architectures", "transformers_version"}
    assert {name: config.get(name) for name in plain if name not in changed} == {
        name: value for name, value in plain.items() if name not in changed
    }
    processor = json.loads((tmp_path / "target" / "preprocessor_config.json").read_text())
    references = [*config["auto_map"].values(), *processor["auto_map"].values()]
    assert {"AutoConfig", "AutoModel", "AutoModelForVideoClassification"} <= config["auto_map"].keys()
    assert processor["auto_map"].keys() == {"AutoImageProcessor", "AutoVideoProcessor"}
    for reference in references:
        module, name = reference.split(".")
        assert (tmp_path / "target" / f"{module}.py").is_file()
        assert name in hf_ttr.__all__


def test_checkpoint_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    hub.convert(write_source(tmp_path / "source"), tmp_path / "target")
    names = {"README.md", "config.json", "preprocessor_config.json", "video_preprocessor_config.json", f"{LOADER}.py"}
    assert {path.name for path in (tmp_path / "target").iterdir()} == names | {"model.safetensors"}
    for name in names:
        assert str(tmp_path) not in (tmp_path / "target" / name).read_text()


def test_settings_left_out_are_the_defaults(tmp_path: Path) -> None:
    converted = hub.convert(write_source(tmp_path / "source"), tmp_path / "target")
    assert converted.temporal_reuse.to_dict() == hf_ttr.TemporalReuseConfig().to_dict()


def test_checkpoint_with_reuse_keeps_the_settings_that_are_not_changed(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    hub.convert(tmp_path / "source", tmp_path / "first", {"mode": "causal", "threshold": 0.3, "max_age": 7})
    again = hub.convert(tmp_path / "first", tmp_path / "second", {"threshold": 0.2}).temporal_reuse
    assert (again.mode, again.threshold, again.max_age) == ("causal", 0.2, 7)


def test_image_classifier_with_reuse_stays_one(tmp_path: Path) -> None:
    write_source(tmp_path / "source")
    model = hf_ttr.TemporalReuseViTForImageClassification.from_pretrained(tmp_path / "source")
    model.save_pretrained(tmp_path / "images")
    hf_ttr.TemporalReuseImageProcessor(**PROCESSOR).save_pretrained(tmp_path / "images")
    converted = hub.convert(tmp_path / "images", tmp_path / "target")
    assert converted.architecture == "TemporalReuseViTForImageClassification"


def deit_files(folder: Path) -> None:
    """As facebook/deit-base-patch16-224 has them, smaller: type "vit", old names, and a DeiT's feature extractor."""
    write_source(folder, variant="old-names")
    settings = {
        "crop_size": 24,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "DeiTFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "size": 28,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


PROCESSORS: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "vit": (write_source, ViTImageProcessorPil),
    "videomae": (lambda folder: write_source(folder, "videomae"), VideoMAEImageProcessorPil),
    "deit": (deit_files, DeiTImageProcessorPil),
}


@pytest.mark.parametrize(("write", "plain_class"), PROCESSORS.values(), ids=PROCESSORS)
def test_processors_give_the_pixels_of_the_plain_one(write: Any, plain_class: Any, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write(tmp_path / "source")
    hub.convert(tmp_path / "source", tmp_path / "target")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    picture = PIL.Image.fromarray(pixels)
    plain = plain_class.from_pretrained(tmp_path / "source")
    expected = plain([picture], return_tensors="pt").pixel_values.reshape(3, 24, 24)
    images = hf_ttr.TemporalReuseImageProcessor.from_pretrained(tmp_path / "target")
    videos = hf_ttr.TemporalReuseVideoProcessor.from_pretrained(tmp_path / "target")
    assert_same(images([picture], return_tensors="pt").pixel_values[0], expected)
    assert_same(videos([[picture, picture]], return_tensors="pt").pixel_values[0, 1], expected)


@pytest.mark.parametrize("variant", ["old-names", "new-names"])
@pytest.mark.parametrize("kind", CLASSES)
def test_the_plain_class_loads_what_was_converted(kind: str, variant: str, tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", kind, variant)
    hub.convert(source, tmp_path / "target")
    plain_class = CLASSES[kind][0]
    model, report = plain_class.from_pretrained(tmp_path / "target", output_loading_info=True)
    assert not {name: part for name, part in report.items() if part}
    expected = parent_logits(plain_class.from_pretrained(source), clip_for(kind))
    assert_same(parent_logits(model, clip_for(kind)), expected)


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_loaded_changed_and_saved_still_says_where_the_code_is(kind: str, tmp_path: Path) -> None:
    hub.convert(write_source(tmp_path / "source", kind, "old-names"), tmp_path / "target", {"threshold": 0.3})
    model = AutoModelForVideoClassification.from_pretrained(tmp_path / "target")
    torch.nn.init.normal_(model.classifier.weight)
    model.config.temporal_reuse.mode = "off"
    model.save_pretrained(tmp_path / "saved")
    hf_ttr.TemporalReuseVideoProcessor.from_pretrained(tmp_path / "target").save_pretrained(tmp_path / "processor")

    assert (tmp_path / "saved" / f"{LOADER}.py").read_bytes() == (tmp_path / "target" / f"{LOADER}.py").read_bytes()
    assert (tmp_path / "processor" / f"{LOADER}.py").is_file()
    before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("target", "saved"))
    assert after["auto_map"] == before["auto_map"]
    again, report = CLASSES[kind][1].from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert not {name: part for name, part in report.items() if part}
    assert_same(reuse_logits(again, clip_for(kind)), reuse_logits(model, clip_for(kind)))


@pytest.mark.parametrize(("kind", "name"), [("vit", "vit-tiny-tin200"), ("videomae", "videomae-tiny-tin200")])
def test_real_weights(kind: str, name: str, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "models" / name
    hub.convert(source, tmp_path / "target", dtype="float16")
    assert (tmp_path / "target" / "model.safetensors").read_bytes() == (source / "model.safetensors").read_bytes()
    plain_class, reuse_class = CLASSES[kind]
    plain = plain_class.from_pretrained(source, dtype=torch.float32)
    back = plain_class.from_pretrained(tmp_path / "target", dtype=torch.float32)
    model = reuse_class.from_pretrained(tmp_path / "target", dtype=torch.float32, temporal_reuse={"mode": "off"})
    clip = make_clip(1, 16 if kind == "videomae" else 2, (plain.config.image_size,) * 2, plain.config.patch_size)
    expected = parent_logits(plain, clip)
    assert_same(parent_logits(back, clip), expected)
    assert_same(reuse_logits(model, clip), expected)
    assert model.config.id2label == plain.config.id2label


# ---------------------------------------------------------------------------------------------------------------------
# What cannot be converted
# ---------------------------------------------------------------------------------------------------------------------


def edit_config(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "source" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def without(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        path = folder / "source" / "model.safetensors"
        save_file({key: weight for key, weight in load_file(path).items() if name not in key}, path, {"format": "pt"})

    return remove


def as_pickle(folder: Path) -> None:
    torch.save({}, folder / "source" / "pytorch_model.bin")
    (folder / "source" / "model.safetensors").unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "source" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def shard_missing(folder: Path) -> None:
    write_source(folder / "source", variant="sharded")
    (folder / "source" / "model.safetensors").unlink()
    sorted((folder / "source").glob("model-*.safetensors"))[1].unlink()


def shard_elsewhere(folder: Path) -> None:
    (folder / "source" / "model.safetensors").rename(folder / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"classifier.weight": "../elsewhere.safetensors"}}
    (folder / "source" / "model.safetensors.index.json").write_text(json.dumps(index))


def base_model(folder: Path) -> None:
    config = tiny_parent().config
    ViTModel(config).save_pretrained(folder / "source")


def pretrained_videomae(folder: Path) -> None:
    VideoMAEForPreTraining(tiny_videomae().config).save_pretrained(folder / "source")


def taken(folder: Path) -> None:
    (folder / "target").mkdir()
    (folder / "target" / "note.txt").write_text("mine")


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "source" / name).unlink()


def nothing(folder: Path) -> None:
    pass


# What is broken first, the arguments of `convert` that differ, and what the sentence says.
BAD: dict[str, tuple[Callable[[Path], None], dict[str, Any], list[str]]] = {
    "missing": (nothing, {"source": "./nowhere"}, ["./nowhere", "does not exist"]),
    "of-text": (edit_config(model_type="bert"), {}, ["'bert'", "classifier of the kind", "VideoMAE", "ViT"]),
    "without-head": (without("classifier"), {}, ["classifier.weight", "trained for classification"]),
    "with-a-layer-missing": (without("layers.1.mlp"), {}, ["no weights for", "layers.1.mlp"]),
    "base-model": (base_model, {}, ["no classifier but a ViTModel"]),
    "pretrained-videomae": (pretrained_videomae, {}, ["no classifier but a VideoMAEForPreTraining"]),
    "head-of-another-size": (edit_config(id2label={"0": "a", "1": "b"}), {}, ["cannot be loaded"]),
    "pickle": (as_pickle, {}, ["pytorch_model.bin", "may run code", "save_pretrained"]),
    "cut-weights": (cut_weights, {}, ["cannot be loaded", "complete copy"]),
    "no-weights": (remove("model.safetensors"), {}, ["has no model.safetensors", "complete copy"]),
    "no-processor": (remove("preprocessor_config.json"), {}, ["no preprocessor_config.json"]),
    "shard-missing": (shard_missing, {}, ["its model-00002-of-", "is missing", "complete copy"]),
    "shard-elsewhere": (shard_elsewhere, {}, ["names the file '../elsewhere.safetensors'"]),
    "setting-unknown": (nothing, {"temporal_reuse": {"treshold": 1}}, ["no setting 'treshold'"]),
    "setting-out-of-range": (nothing, {"temporal_reuse": {"threshold": -1}}, ["threshold is -1", "at least 0"]),
    "reduction-too-large": (
        nothing,
        {"temporal_reuse": {"reduction": [{"method": "tome", "r": 99}]}},
        ["cannot be run like this", "half of the 37"],
    ),
    "target-taken": (taken, {}, ["target", "is not empty", "overwrite"]),
    "target-is-no-checkpoint": (taken, {"overwrite": True}, ["target", "other than a checkpoint"]),
    "target-is-file": (lambda folder: (folder / "target").touch(), {}, ["target", "is a file"]),
    "target-is-source": (nothing, {"folder": "source", "overwrite": True}, ["'source'", "holds the model to convert"]),
    "target-holds-source": (nothing, {"folder": ".", "overwrite": True}, ["'.'", "holds the model to convert"]),
    "target-below-file": (lambda folder: (folder / "a").touch(), {"folder": "a/b"}, ["a/b", "cannot be written"]),
    "target-without-name": (nothing, {"folder": ""}, ["is empty"]),
}


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("damage", "arguments", "words"), BAD.values(), ids=BAD)
def test_refused_in_one_sentence_and_nothing_written(
    damage: Any, arguments: dict, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_source(tmp_path / "source")
    damage(tmp_path)
    before = content_of(tmp_path)
    with pytest.raises(CheckpointError) as error:
        hub.convert(**{"source": "source", "folder": "target", **arguments})
    message = str(error.value)
    for word in words:
        assert word in message
    assert "\n" not in message and message.endswith(".")
    assert content_of(tmp_path) == before


def test_overwriting_leaves_nothing_of_the_old_checkpoint(tmp_path: Path) -> None:
    hub.convert(write_source(tmp_path / "sharded", variant="sharded"), tmp_path / "target")
    hub.convert(write_source(tmp_path / "whole"), tmp_path / "target", overwrite=True)
    assert [path.name for path in (tmp_path / "target").glob("model*")] == ["model.safetensors"]
    assert {path.name for path in tmp_path.iterdir()} == {"sharded", "whole", "target"}


def test_failed_overwriting_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_source(tmp_path / "source")
    hub.convert(source, tmp_path / "target")
    before = content_of(tmp_path)

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_ttr.hub.weight_files.shutil.copyfile", fail)
    with pytest.raises(CheckpointError, match=r"target' cannot be written \(.*No space left on device\)"):
        hub.convert(source, tmp_path / "target", overwrite=True)
    assert content_of(tmp_path) == before


def test_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    hub.convert(write_source(tmp_path / "source"), tmp_path / "target")
    assert (tmp_path / "target" / "config.json").is_file()


# ---------------------------------------------------------------------------------------------------------------------
# Other processes
# ---------------------------------------------------------------------------------------------------------------------

PREAMBLE = """
import json, sys
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification, pipeline
# What transformers exports under this name is a placeholder without torchvision; pipelines use the class itself.
from transformers.models.auto.video_processing_auto import AutoVideoProcessor

assert "hf_ttr" not in sys.modules
kinds = {kinds}
loaders = (AutoConfig, AutoModelForVideoClassification, AutoImageProcessor, AutoVideoProcessor)
results = {{}}
"""
LOAD = """
for kind, folder in kinds.items():
    model = AutoModelForVideoClassification.from_pretrained(folder, **options)
    with torch.no_grad():
        results[kind] = model(torch.load(folder + ".clip")).logits.tolist()
    loaded = [AutoModel.from_pretrained(folder, **options)]
    loaded += [loader.from_pretrained(folder, **options) for loader in loaders]
    assert all(type(one).__module__.startswith("hf_ttr.") for one in loaded), loaded
    pipe = pipeline("video-classification", model=folder, **options)
    assert type(pipe.video_processor).__name__ == "TemporalReuseVideoProcessor"
    results[kind + " label"] = pipe("hf_ttr/assets/demo.mp4", top_k=1)[0]["label"]
    # What came by way of the loader is saved with the loader, and without a copy of the code.
    model.save_pretrained(folder + "-again")
    loaded[-2].save_pretrained(folder + "-again")
print(json.dumps(results))
"""
REFUSED = """
for kind, folder in kinds.items():
    for load in (*[loader.from_pretrained for loader in loaders], lambda m, **o: pipeline(model=m, task=task, **o)):
        try:
            load(folder, **options)
        except error as raised:
            results.setdefault(str(raised).replace(folder, "FOLDER"), []).append(kind)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both kinds, causal, of sources with old names, and `<folder>.clip` for each."""
    folder = tmp_path_factory.mktemp("converted")
    targets = {}
    for kind in CLASSES:
        source = write_source(folder / f"{kind}-source", kind, "old-names")
        targets[kind] = Path(hub.convert(source, folder / kind, {"mode": "causal", "threshold": 0.2}).folder)
        torch.save(clip_for(kind), f"{targets[kind]}.clip")
    return targets


# What every one of them would load, without the package.
IMPORTS = """
import json, torch, transformers.pipelines
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForVideoClassification
from transformers import VideoMAEForVideoClassification, ViTForImageClassification, pipeline
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
"""


@pytest.fixture(scope="module")
def hub_of_all() -> Iterator[HubServer]:
    with hub_server() as server:
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the processes have their caches."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def processes(hub_of_all: HubServer, home: Path) -> Iterator[Forks]:
    """They have no terminal to ask at, caches of their own, and the stand-in for the Hub."""
    variables = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub_of_all.endpoint, "HF_TOKEN": TOKEN}
    with forks(IMPORTS, **variables) as running:
        yield running


def printed(process: Fork) -> Any:
    """What a process prints as JSON."""
    output, errors = process.communicate(300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


def run_python(code: str, home: Path, **environment: str) -> Any:
    """What a fresh process prints as JSON; it has no terminal to ask at."""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def preamble(kinds: dict[str, Path]) -> str:
    return PREAMBLE.format(kinds={kind: str(path) for kind, path in kinds.items()})


HOW = {
    "imported": "import hf_ttr\noptions = {}",
    "imported-and-not-trusted": "import hf_ttr\noptions = {'trust_remote_code': False}",
    "trusted": "options = {'trust_remote_code': True}",
}


@pytest.mark.parametrize("how", HOW.values(), ids=HOW)
def test_fresh_process_gives_the_same_logits(
    how: str, converted: dict[str, Path], processes: Forks, hub_of_all: HubServer
) -> None:
    hub_of_all.log.clear()
    found = printed(processes.start(preamble(converted) + how + LOAD, stdout=subprocess.PIPE))
    assert hub_of_all.log == []
    for kind, folder in converted.items():
        model = CLASSES[kind][1].from_pretrained(folder)
        with torch.no_grad():
            assert_same(torch.tensor(found[kind]), model(clip_for(kind)).logits)
        assert found[f"{kind} label"].startswith("class ")
        # The card is that of what was converted.
        files = {path.name for path in folder.iterdir()} - {"README.md"}
        assert {path.name for path in Path(f"{folder}-again").iterdir()} == files


def test_process_without_the_package_is_told_what_to_install(converted: dict[str, Path], processes: Forks) -> None:
    # `None` in sys.modules makes an import fail, as where the package is not installed.
    settings = "task, error, options = 'video-classification', ImportError, {'trust_remote_code': True}"
    code = preamble(converted) + f"sys.modules['hf_ttr'] = None\n{settings}\n{REFUSED}"
    message = (
        "This checkpoint reuses tokens over time, with code that is in the package hf-ttr, which is not installed; "
        "install it with `pip install .` in a clone of it."
    )
    found = printed(processes.start(code, stdout=subprocess.PIPE))
    assert found == {message: ["vit"] * 5 + ["videomae"] * 5}


def test_process_that_trusts_nothing_runs_nothing(converted: dict[str, Path], processes: Forks) -> None:
    settings = "task, error, options = 'video-classification', ValueError, {'trust_remote_code': False}"
    code = f"{preamble(converted)}{settings}\n{REFUSED}\nassert 'hf_ttr' not in sys.modules"
    [[message, kinds]] = printed(processes.start(code, stdout=subprocess.PIPE)).items()
    assert kinds == ["vit"] * 5 + ["videomae"] * 5
    assert "`trust_remote_code=True`" in message


# ---------------------------------------------------------------------------------------------------------------------
# The Hub
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(hub_of_all: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """A stand-in for the Hub, empty, with an account that may write to it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub_of_all.endpoint)
    for kept in (hub_of_all.repos, hub_of_all.private, hub_of_all.log):
        kept.clear()
    return hub_of_all


def test_checkpoint_goes_to_the_hub_and_comes_back(
    server: HubServer, converted: dict[str, Path], processes: Forks, home: Path
) -> None:
    for kind, folder in converted.items():
        assert hub.push_to_hub(folder, f"me/{kind}", private=True) == f"{server.endpoint}/me/{kind}"
        assert server.repos[f"me/{kind}"] == content_of(folder)
    assert server.private == {"me/vit": True, "me/videomae": True}

    code = f"""
import json, sys
import torch
from transformers import AutoModelForVideoClassification, pipeline
results = {{}}
for kind, folder in { ({kind: str(path) for kind, path in converted.items()})!r}.items():
    pipe = pipeline("video-classification", model="me/" + kind, trust_remote_code=True)
    results[kind + " label"] = pipe("hf_ttr/assets/demo.mp4", top_k=1)[0]["label"]
    with torch.no_grad():
        results[kind] = pipe.model(torch.load(folder + ".clip")).logits.tolist()
print(json.dumps(results))
"""
    fetched = printed(processes.start(code, stdout=subprocess.PIPE))
    assert any("/resolve/" in line for line in server.log)
    for kind, folder in converted.items():
        with torch.no_grad():
            expected = CLASSES[kind][1].from_pretrained(folder)(clip_for(kind)).logits
        assert_same(torch.tensor(fetched[kind]), expected)
        assert len(list((home / "hub" / f"models--me--{kind}" / "snapshots").iterdir())) == 1
    # The first one brings the package, which is then there for the second.
    [loader] = (home / "hub" / "models--me--vit" / "snapshots").glob(f"*/{LOADER}.py")
    assert loader.read_bytes() == (ROOT / "hf_ttr" / "hub" / f"{LOADER}.py").read_bytes()
    # The cache alone is enough from now on.
    server.log.clear()
    assert run_python(code, home, HF_ENDPOINT=server.endpoint) == fetched
    assert server.log == []


def test_source_may_be_a_repository_of_the_hub(server: HubServer, processes: Forks, tmp_path: Path) -> None:
    write_source(tmp_path / "source", "videomae", "sharded")
    server.repos["you/plain"] = content_of(tmp_path / "source")
    code = f"""
import json
from hf_ttr import hub
print(json.dumps(hub.convert("you/plain", {str(tmp_path / "target")!r}, {{"threshold": 0.3}}).source))
"""
    assert printed(processes.start(code, stdout=subprocess.PIPE)) == "you/plain"
    for path in (tmp_path / "source").glob("model*"):
        copy = tmp_path / "target" / path.name
        assert not copy.is_symlink()
        assert copy.read_bytes() == path.read_bytes()


def test_card_is_uploaded_and_weights_that_are_gone_are_deleted(server: HubServer, tmp_path: Path) -> None:
    hub.convert(write_source(tmp_path / "whole"), tmp_path / "target")
    (tmp_path / "target" / "README.md").write_text("---\nlibrary_name: transformers\n---\n\n# A model\n")
    hub.push_to_hub(tmp_path / "target", "me/model")
    assert server.repos["me/model"]["README.md"].endswith(b"# A model\n")
    server.repos["me/model"]["notes.txt"] = b"stay"
    hub.convert(write_source(tmp_path / "sharded", variant="sharded"), tmp_path / "target", overwrite=True)
    hub.push_to_hub(tmp_path / "target", "me/model")
    names = server.repos["me/model"].keys()
    assert "model.safetensors" not in names
    assert {"model.safetensors.index.json", "notes.txt"} <= names


def test_models_push_their_loader_too(server: HubServer, processes: Forks, tmp_path: Path) -> None:
    code = f"""
import json
import hf_ttr
from tests.tiny import tiny_parent
model = hf_ttr.with_temporal_reuse(tiny_parent())
model.push_to_hub("me/pushed")
model.save_pretrained({str(tmp_path / "saved")!r}, push_to_hub=True, repo_id="me/saved")
model.config.save_pretrained({str(tmp_path / "config")!r}, push_to_hub=True, repo_id="me/config")
hf_ttr.TemporalReuseVideoProcessor().push_to_hub("me/processor")
print(json.dumps("done"))
"""
    printed(processes.start(code, stdout=subprocess.PIPE))
    assert server.repos["me/pushed"].keys() >= {"config.json", "model.safetensors", f"{LOADER}.py"}
    assert server.repos["me/saved"].keys() >= {"config.json", "model.safetensors", f"{LOADER}.py"}
    assert server.repos["me/config"].keys() >= {"config.json", f"{LOADER}.py"}
    assert server.repos["me/processor"].keys() >= {"preprocessor_config.json", f"{LOADER}.py"}


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    # A port that nothing listens at.
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


def logged_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")


REFUSALS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, list[str]]] = {
    "offline": (offline, "me/model", ["while HF_HUB_OFFLINE is set; unset it", "`hf upload me/model"]),
    "unreachable": (unreachable, "me/model", ["cannot be reached", "check the network", "`hf upload me/model"]),
    "logged-out": (logged_out, "me/model", ["does not take", "Invalid credentials", "hf auth login"]),
    "bad-name": (lambda monkeypatch: None, "me/my model", ["'me/my model' cannot be the name", "'me/vit'"]),
}


@pytest.mark.parametrize(("prepare", "repo", "words"), REFUSALS.values(), ids=REFUSALS)
def test_refusal_of_the_hub_is_one_sentence(
    prepare: Any,
    repo: str,
    words: list[str],
    server: HubServer,
    converted: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepare(monkeypatch)
    with pytest.raises(CheckpointError) as error:
        hub.push_to_hub(converted["vit"], repo)
    message = str(error.value)
    for word in words:
        assert word in message
    assert "\n" not in message and message.endswith(".")
    assert not any(server.repos.values())


def test_folder_without_checkpoint_is_not_pushed(server: HubServer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no model"):
        hub.push_to_hub(tmp_path, "me/model")
    assert server.repos == {}


# What a stranger's config may say of code, repositories and kernels.
FOREIGN = {
    "auto_map": {"AutoModelForVideoClassification": "stranger/repo--code.Model", "AutoConfig": "code.Config"},
    "custom_pipelines": {"video-classification": {"impl": "stranger/repo--code.Pipeline"}},
    "custom_generate": "stranger/repo",
    "attn_implementation": "stranger/kernel",
    "_attn_implementation": "stranger/kernel",
    "_attn_implementation_internal": "stranger/kernel",
    "text_config": {"auto_map": {"AutoModel": "stranger/repo--code.Model"}, "_attn_implementation": "stranger/kernel"},
    "tasks": [{"custom_pipelines": {"a": {"impl": "stranger/repo--code.Pipeline"}}}],
}


@pytest.mark.parametrize("kind", ["vit", "videomae", "reuse"])
@pytest.mark.parametrize("way", ["convert", "save", "again", "pipeline"])
def test_no_code_of_others_is_handed_on(kind: str, way: str, converted: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "source"
    if kind == "reuse":
        shutil.copytree(converted["vit"], source)
    else:
        write_source(source, kind)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, **FOREIGN}))
    processor = json.loads((source / "preprocessor_config.json").read_text())
    processor["auto_map"] = {"AutoImageProcessor": "stranger/repo--code.Processor"}
    (source / "preprocessor_config.json").write_text(json.dumps(processor))
    target = tmp_path / "target"
    own_class = CLASSES["videomae" if kind == "videomae" else "vit"][1]
    if way == "convert":
        hub.convert(source, target)
    elif way == "again":
        hub.convert(source, tmp_path / "first")
        hub.convert(tmp_path / "first", target)
    else:
        model: Any = own_class.from_pretrained(source)
        if way == "save":
            model.save_pretrained(target)
        else:
            hf_ttr.TemporalReuseVideoClassificationPipeline(
                model, video_processor=hf_ttr.TemporalReuseVideoProcessor.from_pretrained(source)
            ).save_pretrained(target)
    for file in target.glob("*.json"):
        assert "stranger" not in file.read_text(), file.name
    saved = json.loads((target / "config.json").read_text())
    assert set(saved["auto_map"].values()) == {
        f"{LOADER}.{name}" for name in MODELS[own_class.config_class.model_type].auto_classes.values()
    }
    assert AutoModelForVideoClassification.from_pretrained(target).config._attn_implementation == "sdpa"


def test_a_parent_that_is_in_memory_hands_no_code_on(tmp_path: Path) -> None:
    parent = tiny_parent()
    for name, value in FOREIGN.items():
        if not name.startswith("_attn"):
            setattr(parent.config, name, value)
    parent.config._attn_implementation = "sdpa"
    hf_ttr.with_temporal_reuse(parent).save_pretrained(tmp_path)
    assert "stranger" not in (tmp_path / "config.json").read_text()
