from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys

import pytest

import hf_ttr
from hf_ttr.caching import TemporalReuseCache
from hf_ttr.renamed import RENAMED, find_renamed


@pytest.fixture(autouse=True)
def not_loaded() -> None:
    for name in RENAMED:
        sys.modules.pop(name, None)
        vars(hf_ttr).pop(name.removeprefix("hf_ttr."), None)


@pytest.mark.parametrize("name", RENAMED)
def test_a_module_is_found_under_the_name_that_it_had(name: str) -> None:
    with pytest.warns(FutureWarning, match=f"{name} is now {RENAMED[name]}; import it from there."):
        module = importlib.import_module(name)
    assert module is importlib.import_module(RENAMED[name])
    assert module.__name__ == RENAMED[name] and module.__spec__ is not None and module.__spec__.name == RENAMED[name]


def test_names_are_imported_and_unpickled_as_before() -> None:
    with pytest.warns(FutureWarning, match="hf_ttr.caching.cache"):
        from hf_ttr.cache import TemporalReuseCache as before
    assert before is TemporalReuseCache
    sys.modules.pop("hf_ttr.cache")
    # What an older version wrote.
    old = pickle.dumps(TemporalReuseCache, protocol=0).replace(b"hf_ttr.caching.cache", b"hf_ttr.cache")
    with pytest.warns(FutureWarning, match="hf_ttr.caching.cache"):
        assert pickle.loads(old) is TemporalReuseCache


def test_a_second_call_changes_nothing_and_others_are_not_found() -> None:
    before = list(sys.meta_path)
    find_renamed()
    assert sys.meta_path == before
    assert importlib.util.find_spec("hf_ttr.no_such_module") is None
