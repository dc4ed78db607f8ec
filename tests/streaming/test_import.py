"""What commands look at before they load a model comes without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import hf_ttr


LIGHT = ("", ".control", ".names", ".options", ".result", ".result_choice", ".result_file", ".states")


def test_options_and_files_of_results_need_no_torch() -> None:
    # The package itself is not what is looked at here.
    code = (
        "import importlib, sys, types\n"
        "package = sys.modules['hf_ttr'] = types.ModuleType('hf_ttr')\n"
        f"package.__path__ = [{str(Path(hf_ttr.__file__).parent)!r}]\n"
        f"for name in {LIGHT}: importlib.import_module('hf_ttr.streaming' + name)\n"
        "from hf_ttr.streaming import ResultChoice, ResultFile, StreamOptions, StreamResult\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'av'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_all_names_are_there() -> None:
    import hf_ttr.streaming as streaming

    assert all(getattr(streaming, name).__name__ == name for name in streaming.__all__)
    assert set(streaming.__all__) <= set(dir(streaming)) and not hasattr(streaming, "nothing")
