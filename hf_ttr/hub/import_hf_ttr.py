"""Loads this checkpoint with the package hf_ttr; all of its code is there, and none in this file."""

from typing import Any


# Inside `try`, where transformers does not look for packages: it would tell to install one called hf_ttr.
try:
    import hf_ttr
except ModuleNotFoundError as error:
    if error.name != "hf_ttr":
        raise
    raise ModuleNotFoundError(
        "This checkpoint reuses tokens over time, with code that is in the package hf-ttr, which is not installed; "
        "install it with `pip install .` in a clone of it.",
        name="hf_ttr",
    ) from None


def __getattr__(name: str) -> Any:
    try:
        return getattr(hf_ttr, name)
    except AttributeError:
        raise AttributeError(
            f"This checkpoint needs {name}, which the installed hf-ttr {hf_ttr.__version__} does not have; update it "
            "in its clone with `git pull` and `pip install .`."
        ) from None
