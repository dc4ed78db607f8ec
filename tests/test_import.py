"""`import hf_ttr` loads nothing, what is used is loaded then, and transformers knows the models all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

import hf_ttr

from .forks import Forks, forks


def run(code: str) -> None:
    """Runs code in a new interpreter; it fails where the code does."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def processes() -> Iterator[Forks]:
    """With what takes long of that which neither transformers nor this package is."""
    with forks("import torch._dynamo, torch.distributed.tensor, torch.export") as running:
        yield running


def run_behind_torch(processes: Forks, code: str) -> None:
    """The same where torch is loaded before all else."""
    process = processes.start("import sys; assert not {'hf_ttr', 'transformers'} & sys.modules.keys()\n" + code)
    _, errors = process.communicate(300)
    assert process.returncode == 0, errors


def test_models_need_torch_and_transformers_alone() -> None:
    # `None` in sys.modules makes an import fail, as where the package is not installed.
    run(
        "import sys\n"
        "others = ['accelerate', 'av', 'datasets', 'evaluate', 'matplotlib', 'triton', 'typer', 'rich']\n"
        "sys.modules.update(dict.fromkeys(others))\n"
        "import hf_ttr\n"
        "assert not {'torch', 'transformers', 'numpy'} & sys.modules.keys()\n"
        "assert {'TemporalReuseConfig', 'metrics', '__version__'} <= set(dir(hf_ttr))\n"
        "assert 'torch' not in sys.modules\n"
        "hf_ttr.TemporalReuseViTForVideoClassification, hf_ttr.TemporalReuseVideoMAEForVideoClassification\n"
        "from transformers import AutoModelForVideoClassification\n"
        "assert hf_ttr.TemporalReuseVideoMAEConfig in AutoModelForVideoClassification._model_mapping\n"
    )


def test_registered_when_transformers_is_loaded(processes: Forks) -> None:
    run_behind_torch(
        processes,
        "import sys, hf_ttr\n"
        "import transformers\n"
        "assert 'hf_ttr.models' not in sys.modules\n"
        "from transformers import AutoConfig\n"
        "assert type(AutoConfig.for_model('temporal_reuse_vit')) is hf_ttr.TemporalReuseViTConfig\n"
        "from transformers import AutoModelForImageClassification as images\n"
        "assert hf_ttr.TemporalReuseViTConfig in images._model_mapping\n"
        "assert 'hf_ttr.pipeline' not in sys.modules\n"
        "from transformers.models.auto import modeling_auto\n"
        # Tools that look at a module find its own loader.
        "assert type(modeling_auto.__loader__) is type(modeling_auto.__spec__.loader)\n"
        "assert 'hf_ttr' not in type(modeling_auto.__loader__).__module__\n"
        "from transformers import pipeline\n"
        "from transformers.pipelines import PIPELINE_REGISTRY as registry\n"
        "assert 'video-classification-reuse' in registry.get_supported_tasks()\n"
        "assert registry.supported_tasks['video-classification']['impl'].__module__ == 'hf_ttr.pipeline'\n"
        "assert 'hf_ttr.registration' not in {type(finder).__module__ for finder in sys.meta_path}\n",
    )


@pytest.mark.parametrize(
    "first",
    [
        "from transformers import AutoConfig, ViTModel, pipeline\nimport hf_ttr",
        "from hf_ttr.models.vit.modeling_temporal_reuse_vit import TemporalReuseViTModel\nimport hf_ttr",
    ],
    ids=["transformers", "a-module"],
)
def test_whatever_comes_first(first: str, processes: Forks) -> None:
    run_behind_torch(
        processes,
        f"{first}\n"
        "from transformers import AutoModel, AutoConfig, pipeline\n"
        "config = AutoConfig.for_model('temporal_reuse_vit', hidden_size=8, num_attention_heads=1)\n"
        "assert AutoModel._model_mapping[type(config)] is hf_ttr.TemporalReuseViTModel\n"
        "pipe = pipeline('video-classification', model=hf_ttr.example('vit-demo'))\n"
        "assert type(pipe) is hf_ttr.TemporalReuseVideoClassificationPipeline\n",
    )


def test_names() -> None:
    for name in hf_ttr.__all__:
        assert getattr(hf_ttr, name) is not None
    assert sorted(set(hf_ttr.__all__) - set(dir(hf_ttr))) == []
    assert hf_ttr.video.list_videos.__module__ == "hf_ttr.video.listing"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="module 'hf_ttr' has no attribute 'nothing'"):
        hf_ttr.nothing  # type: ignore[attr-defined]  # noqa: B018
