"""Tables of a session on a GPU."""

from __future__ import annotations

from typing import Any

from ..store import Results
from ..table import Block, Table
from .session import TITLES
from .ways import BASELINE


def blocks(results: Results) -> Block:
    """All tables: what must hold, what was timed, and where the time goes."""
    found: Block = []
    for name, title in TITLES.items():
        part = results.part(name)
        if part is None:
            continue
        versions = ", ".join(f"{key} {value}" for key, value in part["versions"].items())
        found.append(f"{title[0].upper()}{title[1:]} ({part['device']}; {versions}):")
        make = {"gpu_correctness": _correctness, "gpu_profile": _profile}.get(name, _timings)
        found += make(part)
    return found


def broken(results: Results) -> list[str]:
    """A sentence on everything that must hold and does not."""
    part = results.part("gpu_correctness")
    rows = [] if part is None else [row for row in part["rows"] if not row["passed"]]
    return [f"{' in '.join(row['key'])}: {fault}" for row in rows for fault in _faults(row)]


def _faults(row: dict[str, Any]) -> list[str]:
    """What does not hold of a cell: numbers that are off, or calls that wait for the device."""
    if "calls" in row:
        return [f"{what}: {why}" for what, why in row["waits"].items()] or ["nothing was captured."]
    return [
        f"{name} is off by {distance:.2g} of the largest number, and {row['tolerance']:g} is allowed."
        for name, distance in row["distances"].items()
        if not distance <= row["tolerance"]
    ]


def _correctness(part: dict[str, Any]) -> Block:
    rows = []
    for row in part["rows"]:
        name, dtype = row["key"]
        verdict = "holds" if row["passed"] else "**does not hold**"
        if "calls" in row:
            watched = ", ".join(f"{count} of {what}" for what, count in row["calls"].items())
            rows.append((name, dtype, verdict, "", f"calls that may not wait for the device: {watched}"))
            continue
        worst = max(row["distances"], key=lambda key: row["distances"][key])
        note = row.get("without the kernel, as", "")
        rows.append((name, dtype, verdict, f"{row['distances'][worst]:.1e} ({worst})", note))
    return [Table(("what", "dtype", "verdict", "largest distance, of the largest number", "note"), rows)]


def _timings(part: dict[str, Any]) -> Block:
    ways = list(dict.fromkeys(name for row in part["rows"] for name in row["ways"]))
    reuse = [name for name in ways if name.startswith("reuse")]
    rows = []
    for row in part["rows"]:
        found = row["ways"]
        share = next(
            (found[name]["computed_share"] for name in reuse if "computed_share" in found.get(name, {})), None
        )
        ratio = next((found[name]["multiply_add_ratio"] for name in reuse if name in found), None)
        rows.append(
            (
                row["model"],
                str(row["streams"]),
                str(row["frames"]),
                "" if share is None else f"{share:.0%}",
                "" if ratio is None else f"{ratio:.1f}x fewer",
                *(_time(found.get(name), name in reuse) for name in ways),
            )
        )
    failed = [f"{' | '.join(row['key'])}, {way}: {why}" for row in part["rows"] for way, why in row["failed"].items()]
    head = ("model", "streams", "frames a call", "computed", "multiply-adds", *ways)
    said = (
        "Milliseconds of a call, until its last kernel has ended, medians; in brackets how many times faster than "
        f"{BASELINE}."
    )
    lines: Block = [said, Table(head, rows)]
    if failed:
        lines.append("Not run: " + "; ".join(failed))
    return lines


def _time(values: dict[str, Any] | None, is_reuse: bool) -> str:
    if values is None:
        return "-"
    faster = f" ({values['times_faster']:.2f}x)" if is_reuse and "times_faster" in values else ""
    return f"{values['milliseconds']:.2f}{faster}"


def _profile(part: dict[str, Any]) -> Block:
    lines: Block = []
    for row in part["rows"]:
        total = max(row["milliseconds"], 1e-9)
        dearest = [
            (f"`{name}`", f"{values['milliseconds'] / total:.1%}", str(values["calls"] // row["steps"]))
            for name, values in list(row["operations"].items())[:12]
        ]
        waits = sum(row["host_waits"].values()) // row["steps"]
        lines += [
            f"{row['model']}, {row['streams']} streams, {row['share']:.0%} computed, {row['way']}: "
            f"{total / row['steps']:.2f} ms of a step; the host asks the device {waits} times in each.",
            Table(("operation", "of the time", "calls a step"), dearest),
        ]
    return lines
