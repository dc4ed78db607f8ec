"""Fetches the model tests of the installed transformers: its wheel has none, but its source distribution does."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import transformers


NEEDED = ("test_modeling_common.py", "test_configuration_common.py")
# What these two import from files that the source distribution leaves out.
STUBS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}


def load_suite() -> tuple[ModuleType, ModuleType]:
    """The modules `test_modeling_common` and `test_configuration_common`; skips the calling module without them."""
    package = f"transformers_suite_{transformers.__version__.replace('.', '_')}"
    folder = _cache_folder() / package
    if not folder.is_dir():
        try:
            _download(folder)
        except (OSError, subprocess.SubprocessError, KeyError, ValueError) as error:
            cause = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            reason = f"transformers' own tests need the source distribution of {transformers.__version__}: {cause}"
            pytest.skip(reason, allow_module_level=True)
    sys.path.insert(0, str(folder.parent))
    try:
        modeling, configuration = (importlib.import_module(f"{package}.{Path(name).stem}") for name in NEEDED)
    finally:
        sys.path.remove(str(folder.parent))
    return modeling, configuration


def _cache_folder() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "hf_ttr_tests"


def _download(folder: Path) -> None:
    """Leaves a package with the needed test files in `folder`; several processes may do so at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        requirement = f"transformers=={transformers.__version__}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        subprocess.run(
            [*command, "--dest", work, requirement], check=True, capture_output=True, text=True, timeout=300
        )
        (archive,) = Path(work).glob("transformers-*.tar.gz")
        package = Path(work) / "package"
        with tarfile.open(archive) as sources:
            for name in NEEDED:
                _extract(sources, f"transformers-{transformers.__version__}/tests/{name}", package / name)
        for name, text in STUBS.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            (path.parent / "__init__.py").touch()
        (package / "__init__.py").touch()
        try:
            package.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.is_dir():
                raise


def _extract(sources: tarfile.TarFile, member: str, path: Path) -> None:
    content = sources.extractfile(member)
    if content is None:
        raise ValueError(f"{member} is no file")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.read())
