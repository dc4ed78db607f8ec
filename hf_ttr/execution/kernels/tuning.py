"""Which block sizes the attention kernel runs with: measured once on a device, and kept in a file."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch

from ...display import shown
from ...storage.files import replacing
from .frame_links import FrameLinks


logger = logging.getLogger(__name__)

Settings = dict[str, int]
"""`BLOCK_QUERIES`, `BLOCK_KEYS`, `num_warps` and `num_stages` of the kernel."""

LONGEST = (16, 32, 64, 128)
"""Query rows of the longest frame, to which they are rounded up; the last one stands for more as well."""

WORTH = 0.97
"""Share of the time of the usual settings below which others take their place: less is noise."""

FRAMES, TOKENS, HEADS = 64, 197, 12
"""What is measured: a clip of a ViT-B/16 at 224 pixels."""


@dataclass(frozen=True)
class KernelCase:
    """
    What the best settings depend on.

    Attributes:
        device (`str`): name of the GPU.
        triton (`str`): its version.
        dtype (`torch.dtype`): of the states.
        head_dim (`int`): their last dimension.
        is_hold (`bool`): whether nothing is interpolated.
        longest (`int`): one of `LONGEST`.
    """

    device: str
    triton: str
    dtype: torch.dtype
    head_dim: int
    is_hold: bool
    longest: int

    @classmethod
    def on(cls, device: torch.device, dtype: torch.dtype, head_dim: int, is_hold: bool, longest: int) -> KernelCase:
        """The case of tensors on a CUDA device whose longest frame has any number of rows."""
        import triton

        name = torch.cuda.get_device_name(device)
        return cls(name, triton.__version__, dtype, head_dim, is_hold, rounded_longest(longest))

    @property
    def key(self) -> str:
        """Its name in the file."""
        dtype = str(self.dtype).removeprefix("torch.")
        links = "hold" if self.is_hold else "between"
        return f"{self.device}, triton {self.triton}, {dtype}, {self.head_dim}, {links}, {self.longest}"


Benchmark = Callable[[KernelCase, Settings], float]
"""How long the kernel takes with settings, in milliseconds; whatever it raises means that they do not do."""


def kernels_file() -> str:
    """Path of the file, in the folder for caches of the user."""
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.join(os.path.expanduser(folder), "hf_ttr", "kernels.json")


def rounded_longest(longest: int) -> int:
    """The next of `LONGEST`."""
    return next((size for size in LONGEST if longest <= size), LONGEST[-1])


def usual_settings(dtype: torch.dtype, head_dim: int, longest: int) -> Settings:
    """
    The settings where nothing was measured.

    Args:
        dtype, head_dim: as in `KernelCase`.
        longest (`int`): query rows of the frame that has most.
    """
    is_wide, is_float32 = head_dim > 64, dtype == torch.float32
    # The largest blocks for which next to nothing is spilled from registers, within 99 KiB of shared memory.
    return {
        "BLOCK_QUERIES": min(rounded_longest(longest), 32 if is_float32 else 64),
        "BLOCK_KEYS": 16 if is_wide and is_float32 else 32,
        "num_warps": 8 if is_wide and not is_float32 else 4,
        "num_stages": 2,
    }


def candidates(dtype: torch.dtype, head_dim: int, longest: int) -> list[Settings]:
    """The settings that are tried, the usual ones first; arguments as in `usual_settings`."""
    usual = usual_settings(dtype, head_dim, longest)
    twice_the_keys, other_warps = 2 * usual["BLOCK_KEYS"], 12 - usual["num_warps"]
    changes = [
        {},
        {"num_stages": 3},
        {"num_warps": other_warps},
        {"BLOCK_KEYS": twice_the_keys},
        {"BLOCK_KEYS": twice_the_keys, "num_stages": 3},
        {"BLOCK_KEYS": twice_the_keys, "num_warps": other_warps},
    ]
    if rounded_longest(longest) > usual["BLOCK_QUERIES"]:
        changes.append({"BLOCK_QUERIES": 2 * usual["BLOCK_QUERIES"], "num_warps": 8})
    return [usual | change for change in changes]


def tuned_settings(case: KernelCase, path: str) -> Settings:
    """
    The settings that were found best for a case, or the usual ones.

    Args:
        case (`KernelCase`): the case.
        path (`str`): of the file, which is read once; `kernels_file()`.
    """
    found = stored_settings(path).get(case.key)
    # Candidates alone are known to compile: a file may be of another version.
    known = candidates(case.dtype, case.head_dim, case.longest)
    return found if found in known else known[0]


def tune(cases: Iterable[KernelCase], benchmark: Benchmark, path: str) -> int:
    """
    Measures all candidates of some cases, and stores the best of each beside what the file has already.

    Args:
        cases: the cases.
        benchmark: how long the kernel takes; `milliseconds`.
        path (`str`): of the file; `kernels_file()`.

    Returns:
        `int`: for how many of them there are settings now. There are none where no candidate runs.

    Raises:
        OSError: if the file cannot be written.
    """
    best: dict[str, Settings] = {}
    for case in cases:
        tried = candidates(case.dtype, case.head_dim, case.longest)
        times = [_time(benchmark, case, settings) for settings in tried]
        times[0] *= WORTH
        if min(times) < torch.inf:
            best[case.key] = tried[times.index(min(times))]
    # What others have stored meanwhile is kept.
    stored_settings.cache_clear()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(stored_settings(path) | best, file, indent=1, sort_keys=True)
    stored_settings.cache_clear()
    return len(best)


def _time(benchmark: Benchmark, case: KernelCase, settings: Settings) -> float:
    """What the benchmark says; infinite where the settings do not compile, or do not fit on the device."""
    with suppress(Exception):
        return benchmark(case, settings)
    return torch.inf


@cache
def stored_settings(path: str) -> dict[str, Settings]:
    """What is in the file, by the keys of cases; nothing, with a warning, where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            stored = json.load(file)
        if not isinstance(stored, dict):
            raise ValueError(f"it holds a {type(stored).__name__}, not an object")
        return stored
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as fault:
        logger.warning(
            f"The kernel settings in '{shown(path)}' are ignored ({shown(fault)}); "
            "hf_ttr.optimize(model, tune=True) measures them anew."
        )
        return {}


def milliseconds(case: KernelCase, settings: Settings) -> float:
    """The benchmark on the current CUDA device: the kernel on a clip, each frame of which has `longest` query rows."""
    from triton.testing import do_bench

    from .interpolated_attention_triton import compile_time_settings, run_kernel

    device, rows = torch.device("cuda", torch.cuda.current_device()), FRAMES * case.longest
    states = torch.randn(3, rows, HEADS, case.head_dim, device=device, dtype=case.dtype)
    left, right = torch.randint(rows, (2, FRAMES, TOKENS), device=device, dtype=torch.int32)
    alpha = torch.rand(FRAMES, TOKENS, device=device)
    # Most tokens of a clip are held or computed.
    alpha = torch.zeros_like(alpha) if case.is_hold else torch.where(alpha < 0.7, 0, alpha)
    starts = torch.arange(FRAMES + 1, device=device, dtype=torch.int32) * case.longest
    links = FrameLinks(starts, left, right, alpha, case.longest, case.is_hold)
    chosen = compile_time_settings(states[0], links) | settings
    query, keys, values = states.unbind()
    return float(
        do_bench(lambda: run_kernel(query, keys, values, links, case.head_dim**-0.5, chosen), return_mode="median")
    )
