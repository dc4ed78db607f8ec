"""Checkpoints that ask for more than there is are refused before memory is taken."""

from __future__ import annotations

import json
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import hf_ttr
from hf_ttr.hub.checkpoints import CheckpointError, load_classifier


ASSETS = Path(hf_ttr.__file__).parent / "assets"
CLASSES = {
    "vit-demo": "TemporalReuseViTForVideoClassification",
    "videomae-demo": "TemporalReuseVideoMAEForVideoClassification",
}
ASKED: dict[str, dict[str, Any]] = {
    "layers": {"num_hidden_layers": 10**5},
    "many-layers": {"num_hidden_layers": 1000},
    "width": {"hidden_size": 10**6},
    "inner-width": {"intermediate_size": 10**9},
    "heads": {"num_attention_heads": 10**6},
    "channels": {"num_channels": 10**6},
    "size": {"image_size": 10**6},
    "sizes": {"image_size": [8000, 8000], "patch_size": 2},
    "labels": {"num_labels": 10**8, "id2label": None, "label2id": None},
    "frames": {"num_frames": 10**9},
    "text": {"num_hidden_layers": "many"},
    "part": {"hidden_size": 12.5},
    "negative": {"num_hidden_layers": -1},
    "none-at-all": {"patch_size": 0},
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", CLASSES)
def test_a_config_that_asks_for_too_much_is_refused(kind: str, asked: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(ASSETS / kind, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **ASKED[asked]}))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(CheckpointError) as error:
        load_classifier(str(folder), CLASSES[kind], {})
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    # In KiB: far less than a model of that size.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19
    assert time.monotonic() - began < 20
