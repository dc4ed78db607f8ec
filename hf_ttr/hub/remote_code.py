"""How a checkpoint is loaded where this package is installed but was not imported: `trust_remote_code`."""

from __future__ import annotations

import os
import shutil
from typing import Any


LOADER = "import_hf_ttr"
"""The module, of the same name here and in a checkpoint, out of which transformers takes the classes."""


def auto_map(classes: dict[str, str]) -> dict[str, str]:
    """What the entry `auto_map` of a saved config says, out of the names of Auto classes and of classes here."""
    return {auto_class: f"{LOADER}.{name}" for auto_class, name in classes.items()}


def is_own(kind: type) -> bool:
    """Whether a class is of this package, and not derived from one of it elsewhere."""
    return kind.__module__.startswith(f"{__package__.partition('.')[0]}.")


def write_loader(folder: str | os.PathLike[str]) -> str:
    """Puts the module that `auto_map` names into the folder of a checkpoint, and returns its path."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{LOADER}.py")
    return shutil.copyfile(source, os.path.join(folder, f"{LOADER}.py"))


# What a config says of code that is to be run, of repositories that it comes from, and of kernels, which are code too.
_NAMES_CODE = (
    "auto_map",
    "custom_pipelines",
    "custom_generate",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_internal",
    "experts_implementation",
    "_experts_implementation",
    "_experts_implementation_internal",
    "kernel_config",
    "use_kernels",
    "trust_remote_code",
    "code_revision",
    "base_model_name_or_path",
)


def without_code(settings: Any) -> Any:
    """
    The content of a config of others without what names code, a repository or a kernel, at any depth.

    Args:
        settings: a value as JSON has it.
    """
    if isinstance(settings, dict):
        return {name: without_code(value) for name, value in settings.items() if name not in _NAMES_CODE}
    return [without_code(value) for value in settings] if isinstance(settings, list) else settings


class StaysInPackage:
    """In front of a class of transformers, whose source checkpoints import and do not hold."""

    @classmethod
    def register_for_auto_class(cls, *args: Any, **kwargs: Any) -> None:
        """Does as transformers for classes derived elsewhere; one of this package is never copied on saving."""
        # transformers calls this for every class that it loads with trust_remote_code.
        if not is_own(cls):
            super().register_for_auto_class(*args, **kwargs)  # type: ignore[misc]

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Does as transformers; what the checkpoint that a model came from names of other code is not handed on."""
        if is_own(type(self)) and hasattr(self, "config"):
            self.config.forget_foreign_code()
        return super().save_pretrained(*args, **kwargs)  # type: ignore[misc]
