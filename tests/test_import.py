"""`import hf_ttr` needs torch and transformers alone; everything else loads when it is used."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["accelerate", "av", "datasets", "evaluate", "matplotlib", "triton", "typer"])
def test_import_leaves_out(module: str) -> None:
    # `None` in sys.modules makes an import fail, as where the package is not installed.
    code = f"import sys; sys.modules[{module!r}] = None; import hf_ttr; hf_ttr.TemporalReuseViTForVideoClassification"
    subprocess.run([sys.executable, "-c", code], check=True)
