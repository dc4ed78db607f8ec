"""What is measured once is found again; what is not measured, broken or of another version changes nothing."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hf_ttr.execution.kernels import tuning
from hf_ttr.execution.kernels.tuning import (
    LONGEST,
    KernelCase,
    Settings,
    candidates,
    kernels_file,
    rounded_longest,
    stored_settings,
    tune,
    tuned_settings,
    usual_settings,
)

from .frames import random_links, random_states


CASE = KernelCase("NVIDIA H100", "3.5.1", torch.bfloat16, 64, True, 64)
OTHERS = [
    replace(CASE, device="NVIDIA A100"),
    replace(CASE, triton="3.6.0"),
    replace(CASE, dtype=torch.float16),
    replace(CASE, head_dim=32),
    replace(CASE, is_hold=False),
    replace(CASE, longest=32),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a" / "kernels.json")


def usual(case: KernelCase) -> Settings:
    return usual_settings(case.dtype, case.head_dim, case.longest)


def three_stages_win(case: KernelCase, settings: Settings) -> float:
    return 1.0 / settings["num_stages"]


def test_the_fastest_settings_are_found_again(path: str) -> None:
    assert tuned_settings(CASE, path) == usual(CASE)
    assert tune([CASE], lambda case, settings: 1.0 / settings["BLOCK_KEYS"] / settings["num_warps"], path) == 1
    assert tuned_settings(CASE, path) == usual(CASE) | {"BLOCK_KEYS": 64, "num_warps": 8}
    # Another process reads the same.
    stored_settings.cache_clear()
    assert tuned_settings(CASE, path)["BLOCK_KEYS"] == 64


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.key)
def test_settings_are_of_one_case_alone(other: KernelCase, path: str) -> None:
    tune([CASE], three_stages_win, path)
    assert tuned_settings(CASE, path)["num_stages"] == 3
    assert tuned_settings(other, path) == usual(other)
    tune([other], lambda case, settings: settings["num_warps"], path)
    assert tuned_settings(CASE, path)["num_stages"] == 3


def test_the_usual_settings_stay_where_others_are_hardly_faster(path: str) -> None:
    tune([CASE], lambda case, settings: 1.0 if settings == usual(case) else 0.98, path)
    assert tuned_settings(CASE, path) == usual(CASE)


def test_settings_that_do_not_run_are_left_out(path: str) -> None:
    def fails(case: KernelCase, settings: Settings) -> float:
        if settings["num_stages"] == 3 or settings == usual(case):
            raise RuntimeError("out of resource: shared memory")
        return 1.0 + settings["num_warps"]

    assert tune([CASE], fails, path) == 1
    assert tuned_settings(CASE, path) == usual(CASE) | {"BLOCK_KEYS": 64}

    def never(case: KernelCase, settings: Settings) -> float:
        raise RuntimeError("no kernel image is available")

    assert tune(OTHERS, never, path) == 0
    assert list(stored_settings(path)) == [CASE.key]


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "\x00", '{"a": NaN', "[" * 100_000], ids=lambda text: text[:8])
def test_a_broken_file_is_ignored_with_a_warning(text: str, path: str, caplog: pytest.LogCaptureFixture) -> None:
    Path(path).parent.mkdir()
    Path(path).write_text(text)
    with caplog.at_level(logging.WARNING, tuning.logger.name):
        assert tuned_settings(CASE, path) == tuned_settings(CASE, path) == usual(CASE)
    (message,) = caplog.messages
    assert message.startswith(f"The kernel settings in '{path}' are ignored (") and "\n" not in message
    tune([CASE], three_stages_win, path)
    assert tuned_settings(CASE, path)["num_stages"] == 3


@pytest.mark.parametrize("entry", [None, 3, [], {}, {"BLOCK_QUERIES": 4096}, {"num_stages": 3}], ids=str)
def test_no_settings_are_used_that_were_never_tried(entry: object, path: str) -> None:
    Path(path).parent.mkdir()
    Path(path).write_text(json.dumps({CASE.key: entry}))
    assert tuned_settings(CASE, path) == usual(CASE)


def test_the_file_is_written_whole_or_not_at_all(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tune([CASE], three_stages_win, path)

    def breaks(settings: object, file: object, **options: object) -> None:
        file.write("{")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(json, "dump", breaks)
    with pytest.raises(OSError, match="no space"):
        tune([OTHERS[0]], three_stages_win, path)
    assert tuned_settings(CASE, path)["num_stages"] == 3
    assert [entry.name for entry in Path(path).parent.iterdir()] == ["kernels.json"]


def test_the_file_lies_in_the_folder_for_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels_file() == str(tmp_path / "hf_ttr" / "kernels.json")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kernels_file() == str(tmp_path / ".cache" / "hf_ttr" / "kernels.json")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("head_dim", [4, 64, 128])
def test_candidates_differ_and_begin_with_the_usual_ones(dtype: torch.dtype, head_dim: int) -> None:
    for longest in (0, 1, 16, 17, 64, 65, 1000):
        tried = candidates(dtype, head_dim, longest)
        assert tried[0] == usual_settings(dtype, head_dim, longest)
        assert all(one not in tried[:number] for number, one in enumerate(tried))
        # What is stored for the rounded number serves the number itself.
        assert rounded_longest(longest) in LONGEST
        assert tried == candidates(dtype, head_dim, rounded_longest(longest))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("alpha", [0.0, None], ids=["hold", "mixed"])
def test_attention_is_the_same_with_all_of_them(
    dtype: torch.dtype, alpha: float | None, kernel_device: torch.device
) -> None:
    from hf_ttr.execution.kernels.interpolated_attention_triton import (
        compile_time_settings,
        run_kernel,
        triton_interpolated_attention,
    )

    links = random_links([70, 0, 3], 37, 50, alpha)
    for name in ("query_starts", "left", "right", "alpha"):
        setattr(links, name, getattr(links, name).to(kernel_device))
    states = [part.to(kernel_device) for part in random_states(73, 50, 1, 32, dtype)]
    expected = triton_interpolated_attention(*states, links, 0.3)
    for settings in candidates(dtype, 32, links.longest):
        found = run_kernel(*states, links, 0.3, compile_time_settings(states[0], links) | settings)
        torch.testing.assert_close(found, expected, atol=4e-3, rtol=1e-3)
