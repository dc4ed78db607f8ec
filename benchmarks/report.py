"""Tables in Markdown and LaTeX, and plots, from the result file."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from . import (
    ablation,
    archive,
    calibration,
    camera_hours,
    cameras,
    clips,
    dense_outputs,
    gaps,
    headlines,
    heads,
    image_merging,
    linear_kernels,
    long_streams,
    look_ahead,
    memory,
    motion,
    overhead,
    overview,
    packing,
    plots,
    rates,
    replay,
    scaling,
    skipping,
    speed_methods,
    speed_reduction,
    speed_videomae,
    step_sizes,
    streams,
    trained,
    trained_windows,
    windows,
)
from .claims import documents, quote
from .speed import speed_table
from .store import ResultError, Results
from .sweep_tables import (
    at_equal_kl,
    at_savings,
    by_threshold,
    by_video,
    every_setting,
    half_by_half,
    labelled,
    matched,
    method_list,
)
from .table import Block, Table, as_latex, as_markdown


SCALING = tuple(part.name for part in scaling.PARTS)
Blocks = dict[str, tuple[tuple[str, ...], Callable[..., Block]]]
"""By the name in the marker: the parts that a block is made of, and the function that makes it of them."""


def blocks(results: Results) -> Blocks:
    """Everything that a document can ask for."""
    plain: dict[str, Callable[..., Block]] = {
        "ablation": ablation.table,
        "look_ahead": look_ahead.table,
        "clips": clips.table,
        "gaps": gaps.table,
        "motion": motion.table,
        "windows": windows.table,
        "trained": trained.table,
        "trained_windows": trained_windows.table,
        "image_merging": image_merging.table,
        "speed": lambda result: [speed_table(result["rows"])],
        "speed_videomae": speed_videomae.table,
        "speed_reduction": speed_reduction.table,
        "linear_kernels": linear_kernels.table,
        "overhead": overhead.table,
        "packing": packing.table,
    }
    found: Blocks = {name: ((name,), partial(_with_heading, name, make)) for name, make in plain.items()}
    sets = {
        "vit_real": ("vit", "real", "static cameras"),
        "vit_moving": ("vit", "moving", "other videos, one of a moving camera"),
        "vit_fights": ("fights", "fights", "labelled surveillance clips"),
        "vit_demo": ("demo", "demo", "the clip that ships"),
        "videomae_fights": ("videomae_fights", "fights", "labelled surveillance clips"),
        "videomae_motion": ("videomae_motion", "motion", "clips whose classes are motions"),
    }
    for name, (part, subjects, title) in sets.items():
        found[f"{name}_matched"] = ((part,), partial(_with_source, partial(matched, subjects, title, name)))
        found[f"{name}_settings"] = ((part,), partial(every_setting, subjects))
    found |= {
        "across_frames_savings": (
            ("across_frames",),
            partial(_with_source, partial(at_savings, "merged", "static cameras, up to 96 frames of each")),
        ),
        **{
            f"{name}_savings": ((part,), partial(_with_source, partial(at_savings, subjects, title)))
            for name, (part, subjects, title) in sets.items()
        },
        "rates": (("rates",), partial(_with_source, rates.table)),
        "rates_summary": (("rates",), rates.summary),
        "never_worse": (("rates",), partial(_with_source, rates.never_worse)),
        "dense_outputs": (("dense_outputs",), partial(_with_source, dense_outputs.table)),
        "dense_never_worse": (("dense_outputs",), partial(_with_source, dense_outputs.never_worse)),
        "dense_tried": (("dense_outputs",), partial(_with_source, dense_outputs.what_was_tried)),
        "frame_skipping": (("frame_skipping",), partial(_with_source, skipping.table)),
        "vit_methods": (("vit",), method_list),
        "videomae_methods": (("videomae_fights",), method_list),
        "vit_halves": (("vit",), half_by_half),
        "vit_videos": (("vit",), partial(_with_source, by_video)),
        "vit_thresholds": (("vit",), partial(_with_source, by_threshold)),
        "labelled": (("demo", "videomae_motion"), labelled),
        "methods": (("methods",), partial(_with_source, speed_methods.method_table)),
        "latency": (("latency",), partial(_with_plot, "latency", speed_methods.latency_table)),
        "replay": (("replay",), partial(_with_source, replay.table)),
        "peak": (("peak",), partial(_with_plot, "memory", memory.peak_table)),
        "stream_state": (("stream_state",), memory.stream_table),
        "long_run": (("long_run",), partial(_with_plot, "long_run", streams.long_table)),
        "heads": (("heads",), partial(_with_source, heads.table)),
        "calibration": (("calibration",), partial(_with_source, calibration.table)),
        "long_alone": (("long_streams",), partial(_with_source, long_streams.alone_table)),
        "long_joint": (("long_streams",), partial(_with_source, long_streams.joint_table)),
        "long_light": (("long_streams",), partial(_with_source, long_streams.light_table)),
        "long_loops": (("long_streams",), partial(_with_source, long_streams.loop_table)),
        "step_sizes": (("step_sizes",), partial(_with_source, step_sizes.table)),
        "archive_rows": (("archive_rows",), partial(_with_source, archive.rows_table)),
        "archive_speed": (("archive_speed",), partial(_with_source, archive.speed_table)),
        "cameras": (("cameras",), partial(_with_source, cameras.table)),
        "cameras_decoding": (("cameras",), partial(_with_source, cameras.decoding_table)),
        "camera_hours": (("camera_hours",), partial(_with_source, camera_hours.table)),
        "guard": (("guard",), partial(_with_source, streams.guard_table)),
        "many_streams": (("many_streams",), partial(_with_source, streams.many_table)),
        "headline": (("vit", "speed", "videomae_motion", "replay"), partial(headlines.headline, results)),
        "against": (("vit",), partial(headlines.against, results)),
        "worst": (("vit",), partial(headlines.worst, results)),
        "worst_in_a_sentence": (("vit",), partial(headlines.worst_in_a_sentence, results)),
        "summary": (("vit", "speed", "replay"), summary),
        "summary_videomae": (("clips", "motion", "speed_videomae"), summary_videomae),
        "scaling": (SCALING, _scaling),
        "overview_static": (("vit",), partial(overview.frames, "real", "videos of static cameras", "vit_real")),
        "overview_moving": (
            ("vit",),
            partial(overview.frames, "moving", "other videos, one of a moving camera", "vit_moving"),
        ),
        "overview_fights": (
            ("fights",),
            partial(overview.frames, "fights", "surveillance clips", "vit_fights"),
        ),
        "overview_videomae_fights": (
            ("videomae_fights",),
            partial(overview.clips, "fights", "surveillance clips", "videomae_fights"),
        ),
        "overview_videomae_motion": (
            ("videomae_motion",),
            partial(overview.clips, "motion", "clips whose classes are motions", "videomae_motion"),
        ),
        "overview_trained": (("trained",), trained.at_a_glance),
        "overview_speed": (("methods", "latency"), overview.speed),
        "overview_memory": (("peak",), overview.memory),
        "overview_scaling": (SCALING, overview.growth),
    }
    return found


def write_report(results: Results, root: Path, quick: bool = False) -> list[Path]:
    """
    Fills the documents between `<!-- results: NAME -->` and `<!-- /results -->`, and writes LaTeX tables and plots.

    A block whose results are not there, or not complete enough for it, stays as it is.

    Args:
        results, root: what was measured, and where README.md and docs/ lie.
        quick: take results of a quick run, too; their blocks say what they are.

    Returns:
        The files that changed.

    Raises:
        ResultError: if there are results of a quick run, and `quick` is not set.
    """
    if not quick:
        results.refuse_quick()
    changed = []
    for path, text in generated(results, root).items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            changed.append(path)
    return changed + draw(results, root / "docs" / "images")


def generated(results: Results, root: Path) -> dict[Path, str]:
    """The documents as the results fill them, and the tables in LaTeX, by their paths."""
    made = {name: block for name in blocks(results) if (block := make(name, results)) is not None}
    docs = root / "docs"
    tables = (name for name in made if not name.startswith("overview_"))
    with_tables = [name for name in tables if any(isinstance(part, Table) for part in made[name])]
    texts = {docs / "tables" / f"{name}.tex": as_latex(made[name]) for name in with_tables}
    for document in documents(root):
        depth = len(document.relative_to(docs).parts) - 1 if docs in document.parents else 0
        texts[document] = quote(results, fill(document.read_text(), made, depth))
    return texts


def outdated(results: Results, root: Path) -> list[str]:
    """The generated blocks and tables that are not of these results, a sentence for each."""
    places = []
    for path, text in generated(results, root).items():
        found = path.read_text() if path.exists() else ""
        if found != text and path.suffix == ".tex":
            places.append(f"{path.relative_to(root)} is not of these results")
        blocks = {match[1]: match[0] for match in BLOCK.finditer(found)} if found != text else {}
        places += [
            f"{path.relative_to(root)}: the block {match[1]} is not of these results"
            for match in BLOCK.finditer(text)
            if match[1] in blocks and blocks[match[1]] != match[0]
        ]
    return places


def make(name: str, results: Results) -> Block | None:
    """A block, or `None` where its results are missing or incomplete, or there is nothing to say."""
    parts, function = blocks(results)[name]
    found = [results.part(part) for part in parts]
    if parts == SCALING:
        found = [part for part in found if part is not None]
    if not found or any(part is None or (part["name"] in WITH_PLACES and not part["complete"]) for part in found):
        return None
    try:
        block = function(*found)
    except ResultError:
        return None
    if block and any(part["name"] in results.quick_parts() for part in found if part is not None):
        block = [QUICK_RUN, *block]
    return block or None


BLOCK = re.compile(r"<!-- results: (\w+) -->.*?<!-- /results -->", re.DOTALL)
QUICK_RUN = "**From a quick run (`--quick`): it shows that the benchmarks work. The figures measure nothing.**"
WITH_PLACES = (
    "rates",
    "frame_skipping",
    "ablation",
    "look_ahead",
    "clips",
    "gaps",
    "motion",
    "windows",
    "trained",
    "trained_windows",
)
"""Parts whose tables have a place for every cell."""


def fill(text: str, made: dict[str, Block], depth: int = 0) -> str:
    """
    The text of a document with the blocks it asks for, where they could be made.

    Args:
        text, made: the document, and the blocks by name.
        depth: folders between the document and docs/, from where pictures are named.
    """

    def block(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in made:
            return match.group(0)
        content = as_markdown(made[name]).replace("](images/", f"]({'../' * depth}images/")
        return f"<!-- results: {name} -->\n\n{content}\n\n<!-- /results -->"

    return BLOCK.sub(block, text)


def draw(results: Results, images: Path) -> list[Path]:
    """Draws what there are results for; returns the pictures."""
    from .sweep_tables import SWEEP_PLOTS, draw_sweep

    drawn = []
    folder = images / "benchmarks"
    for name, (part, subjects, title) in SWEEP_PLOTS.items():
        result = results.part(part)
        if result is not None:
            drawn += draw_sweep(result, subjects, title, name, folder)
    drawn += overview.draw(results, folder)
    for part, plot, path in (
        ("latency", plots.latency, folder / "latency.png"),
        ("peak", plots.memory, folder / "memory.png"),
        ("windows", windows.plot, images / "windows.png"),
        ("trained", trained.plot, folder / "trained.png"),
        ("rates", rates.plot, folder / "rates.png"),
        ("cameras", cameras.plot, folder / "cameras.png"),
        ("long_run", streams.plot, folder / "long_run.png"),
    ):
        result = results.part(part)
        if result is not None:
            plot(result, path)
            drawn.append(path)
    axes = {axis: result for axis in scaling.AXES if (result := results.part(f"scaling_{axis}")) is not None}
    if axes:
        plots.scaling(axes, scaling.AXES, folder / "scaling.png")
        drawn.append(folder / "scaling.png")
    return drawn


def source(result: dict[str, Any]) -> str:
    """On what a part was measured, and how to do so again."""
    machine, versions = result["machine"], result["versions"]
    command = f"python -m benchmarks run --suite {result['suite']} --part {result['name']}"
    threads = f"{machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    return (
        f"`{command}` on {machine['cores']} cores of {machine['cpu']} ({threads}), torch {versions['torch']}, "
        f"transformers {versions['transformers']}."
    )


def _with_heading(name: str, make: Callable[..., Block], result: dict[str, Any]) -> Block:
    title = name.replace("speed_", "speed of ").replace("_", " ").capitalize()
    return [f"### {title}: {result['model']}", source(result), *make(result)]


def _with_source(make: Callable[..., Block], result: dict[str, Any]) -> Block:
    lines = make(result)
    return [*lines, source(result)] if lines else []


def _with_plot(plot: str, make: Callable[..., Block], result: dict[str, Any]) -> Block:
    return [*make(result), source(result), f"![{plot}](images/benchmarks/{plot}.png)"]


def _scaling(*results: dict[str, Any]) -> Block:
    lines: Block = []
    for result in results:
        lines += scaling.table(result)
    return [*lines, source(results[-1]), "![scaling](images/benchmarks/scaling.png)"]


def summary(fidelity: dict[str, Any], speed: dict[str, Any], real_plans: dict[str, Any]) -> Block:
    """The few figures of the README."""
    machine = speed["machine"]
    return [
        *at_equal_kl(fidelity),
        f"Wall-clock of a ViT-B/16 in float32 against the dense model in the same run ({machine['cores']} cores of "
        f"{machine['cpu']}, random weights):",
        speed_table(speed["rows"]),
        *replay.summary(real_plans),
        "Every method and setting is in [docs/benchmarks.md](docs/benchmarks.md), every video, also those where reuse "
        "loses, in [docs/results.md](docs/results.md).",
    ]


def summary_videomae(surveillance: dict[str, Any], motions: dict[str, Any], speed: dict[str, Any]) -> Block:
    """The few figures of VideoMAE in the README."""
    fights = [row for row in surveillance["rows"] if row["key"][0] == "fight_surv/test"]
    motion_rows = motions["rows"]
    chosen = (
        next(iter(clips.OURS)),
        clips.SAME_BUDGET,
        "fewer frames",
        "random drop",
        "uniform tube drop",
        "RLT: changed tokens, plain pool",
    )
    machine = speed["machine"]
    return [
        f"VideoMAE, at the same multiply-adds in the layers. KL divergence from the dense model (a VideoMAE-Tiny, "
        f"{fights[0]['clips']} surveillance clips):",
        clips.by_ratio([row for row in fights if row["method"] in chosen], lambda row: f"{row['kl']:.4f}"),
        f"Accuracy on {motion_rows[0]['clips']} clips whose classes are motions (the model that ships here; dense "
        f"{motion_rows[0]['accuracy']:.1%}):",
        clips.by_ratio([row for row in motion_rows if row["method"] in chosen], lambda row: f"{row['accuracy']:.1%}"),
        f"Wall-clock of a VideoMAE-B in float32 against the dense model in the same run ({machine['cores']} cores of "
        f"{machine['cpu']}, random weights):",
        speed_table([row for row in speed["rows"] if row["key"][0] != "attention"]),
    ]
