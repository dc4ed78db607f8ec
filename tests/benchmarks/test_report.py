"""Curves, tables and plots of the benchmarks, from small made-up results."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import calibration, replay, report
from benchmarks.__main__ import app
from benchmarks.aggregate import best_baseline, curves_of, is_online, rivals
from benchmarks.claim_figures import labels_of_rivals
from benchmarks.curves import Cost, cost_at_kl, cost_or_mixed, kl_at_cost, pareto_front, percentile
from benchmarks.report import as_markdown, fill, write_report
from benchmarks.speed_methods import latency_of
from benchmarks.store import Results
from benchmarks.streams import memory_growth
from benchmarks.sweep_tables import at_equal_kl, matched
from benchmarks.table import Table, as_latex


def law(share: float, factor: float = 0.01) -> float:
    """A power law: KL at a share."""
    return factor * share**-1.5


METHODS: dict[str, Any] = {
    "dense": {"title": "dense", "paper": "", "knob": "none", "stream": False, "ours": False},
    "bidirectional": {"title": "reuse, both", "paper": "", "knob": "threshold", "stream": False, "ours": True},
    "causal": {"title": "reuse, causal", "paper": "", "knob": "threshold", "stream": True, "ours": True},
    "skip_hold": {"title": "held", "paper": "", "knob": "share", "stream": True, "ours": False},
    "skip_interpolate": {"title": "interpolated", "paper": "", "knob": "share", "stream": False, "ours": False},
}
FACTORS = {"bidirectional": 0.001, "causal": 0.004, "skip_hold": 0.008, "skip_interpolate": 0.002}
VIDEOS = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    found = Results(tmp_path / "results.json")
    header: dict[str, Any] = {
        "command": "python -m benchmarks run",
        "machine": {"cpu": "a CPU", "cores": 2, "threads": 2},
        "versions": {"python": "3", "torch": "2", "transformers": "5", "hf_ttr": "0"},
        "model": "some_model",
        "frames": 300,
        "methods": METHODS,
    }

    def cell(method: str, share: float, video: str, factor: float) -> dict[str, Any]:
        scale = {"a.mp4": 0.5, "b.mp4": 1.0, "c.mp4": 1.0, "d.mp4": 1.5}[video]
        kl = scale * law(share, factor) if factor else 0.0
        return {
            "share": share,
            "kl": kl,
            "clip_kl": kl / 2,
            "agreement": 0.9,
            "clip_agreement": 1.0,
            "flicker": 0.1,
            "dense_flicker": 0.2,
            "seconds": 2 * share,
            "dense_seconds": 1.0,
        }

    found.open_part("fidelity", "vit", header)
    for video in VIDEOS:
        found.put("fidelity", "vit", f"vit real | dense | 0 | {video}", {}, cell("dense", 1.0, video, 0.0))
        for method, factor in FACTORS.items():
            for share in (0.5, 0.2, 0.1, 0.05):
                key = f"vit real | {method} | {share:g} | {video}"
                found.put("fidelity", "vit", key, {}, cell(method, share, video, factor))
    found.open_part("speed", "latency", header)
    for method, pace in (("causal", 1.0), ("skip_hold", 2.0)):
        values = {"setting": 0.25, "milliseconds": [pace * step for step in range(1, 102)]}
        found.put("speed", "latency", f"stream | {method}", {}, values)
    found.open_part("memory", "peak", header)
    for method, mib in (("dense", 100.0), ("bidirectional", 40.0)):
        found.put("memory", "peak", f"16 frames | {method}", {}, {"setting": 0.1, "mib": mib})
    found.open_part("scaling", "scaling_share", header)
    for share in (0.1, 0.5):
        values = {"computed_share": share, "multiply_add_ratio": 1 / share, "wall_clock_ratio": 0.9 / share}
        found.put("scaling", "scaling_share", f"share | ViT-small | {share:g}", {}, {**values, "realised": 0.9})
    return found


def test_interpolation_is_exact_on_a_power_law() -> None:
    points = [(share, law(share)) for share in (1.0, 0.4, 0.13, 0.05)]
    cost = cost_at_kl(points, law(0.2))
    assert cost is not None and cost.share == pytest.approx(0.2) and not cost.at_most
    assert kl_at_cost(points, 0.07) == pytest.approx(law(0.07))


def test_what_lies_outside_a_curve_is_not_made_up() -> None:
    points = [(0.5, 0.01), (0.1, 0.1)]
    assert cost_at_kl(points, 0.001) is None
    assert cost_at_kl(points, 0.2) == Cost(0.1, at_most=True)
    assert kl_at_cost(points, 0.05) is None and kl_at_cost(points, 0.6) is None
    # Half of the frames at KL 0.01 and half of the cost, half dense.
    assert cost_or_mixed(points, 0.005) == Cost(0.75, mixed=True) and cost_or_mixed([], 0.1) == Cost(1.0, mixed=True)
    assert cost_at_kl([], 0.1) is None and kl_at_cost([], 0.1) is None


def test_a_curve_that_comes_down_to_zero_still_has_a_crossing() -> None:
    cost = cost_at_kl([(1.0, 0.0), (0.5, 0.1)], 0.01)
    assert cost is not None and 0.5 < cost.share < 1


def test_pareto_front() -> None:
    points = [(0.5, 0.1), (0.2, 0.3), (0.3, 0.4), (0.6, 0.1), (0.9, 0.05), (0.2, 0.5)]
    front = pareto_front(points)
    assert front == [(0.2, 0.3), (0.5, 0.1), (0.9, 0.05)]
    assert all(any(a <= x and b <= y for a, b in front) for x, y in points)


def test_percentiles() -> None:
    values = [float(value) for value in range(100, -1, -1)]
    assert [percentile(values, share) for share in (0, 0.5, 0.9, 0.99, 1)] == [0, 50, 90, 99, 100]
    assert percentile([1.0, 2.0], 0.5) == 1.5 and percentile([3.0], 1) == 3.0


def test_few_values_have_no_extreme_percentile() -> None:
    # Above the 99th of 64 lies less than one value: it would be made of the largest alone.
    with pytest.raises(ValueError, match="64 values have no percentile 99; show the largest"):
        percentile([1.0] * 64, 0.99)
    assert percentile(list(range(100)), 0.99) == pytest.approx(98.01)


def test_the_first_frame_is_no_part_of_the_percentiles() -> None:
    found = latency_of({"milliseconds": [400.0, *(float(value) for value in range(1, 64))]})
    assert (found["first"], found["largest"], found["p50"]) == (400.0, 63.0, 32.0) and found["p90"] < 58
    assert found["rate"] == pytest.approx(1e3 * 64 / (400 + 63 * 32))


def test_memory_grows_from_the_end_of_the_first_period_on() -> None:
    periods = [{"resident_mib": mib} for mib in (933.0, 947.0, 951.0, 950.0)]
    assert memory_growth(periods) == (933.0, 951.0)


def test_where_no_threshold_was_found_no_promise_was_kept() -> None:
    found = [SimpleNamespace(threshold=0.1, is_kept=True), SimpleNamespace(threshold=0.1, is_kept=False)]
    assert calibration.kept([*found, SimpleNamespace(threshold=0.0, is_kept=True)]) == (1, 2)


def test_curves_are_means_over_videos_that_all_have(results: Results) -> None:
    part = results.part("vit")
    curves = curves_of(part, "real")
    entry = next(entry for entry in curves["skip_hold"] if entry.setting == 0.2)
    assert entry.values["kl"] == pytest.approx(law(0.2, 0.008), rel=1e-4)
    assert (entry.worst, entry.values["time"]) == ("d.mp4", pytest.approx(0.4))
    part["rows"] = [row for row in part["rows"] if row["key"][1:] != ["skip_hold", "0.2", "c.mp4"]]
    assert [entry.setting for entry in curves_of(part, "real")["skip_hold"]] == [0.05, 0.1, 0.5]


def test_a_stream_is_compared_with_streams(results: Results) -> None:
    assert rivals(METHODS, "causal") == ["skip_hold"]
    assert rivals(METHODS, "bidirectional") == ["skip_hold", "skip_interpolate"]
    merging = {**METHODS, "tome": {**METHODS["skip_interpolate"], "title": "ToMe"}}
    assert rivals(merging, "causal") == ["skip_hold", "tome"]  # Runs in batches, and sees each frame by itself.
    assert not is_online({"tome": merging["tome"]}, "tome")  # Of a model that sees a window at once.
    name, cost = best_baseline(curves_of(results.part("vit"), "real"), rivals(METHODS, "bidirectional"), 0.05)
    assert name == "skip_interpolate" and cost.share == pytest.approx((0.05 / 0.002) ** (-1 / 1.5), rel=1e-4)


def test_the_report_fills_documents_and_writes_latex_and_plots(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    sweeps = ("vit_methods", "vit_real_matched", "vit_halves", "vit_real_settings", "vit_videos", "vit_thresholds")
    names = (*sweeps, "latency", "peak", "scaling")
    blocks = "\n".join(f"<!-- results: {name} -->\nstale\n<!-- /results -->" for name in (*names, "ablation"))
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("no markers\n")
    (tmp_path / "docs" / "benchmarks.md").write_text(f"# Title\n{blocks}\nend\n")
    changed = [path.relative_to(tmp_path).as_posix() for path in write_report(results, tmp_path)]
    text = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert text.startswith("# Title\n") and text.endswith("end\n") and text.count("stale") == 1
    # Two power laws of the same exponent: the quotient of the costs is that of the factors to the power of 1 / 1.5.
    quotient = (0.001 / 0.002) ** (1 / 1.5)
    assert "not known" not in text and f"{quotient:.2f} (interpolated)" in text
    assert text.count(f"{(0.004 / 0.008) ** (1 / 1.5):.2f} (held)") >= 4
    assert "a.mp4, c.mp4" in text and "b.mp4, d.mp4" in text
    assert "| a.mp4 | 0.0447, 20.0x | 0.0158, 10.0x | 0.0056, 5.0x | 0.0014, 2.0x |" in text
    assert "| largest KL | 0.1342 | 0.0474 | 0.0168 | 0.0042 |" in text
    own, best = ((0.05 / (0.5 * factor)) ** (-1 / 1.5) for factor in (0.001, 0.002))
    assert own < 0.05 and f"| under 5.0% | {best:.1%} (interpolated) |" in text
    assert "| **reuse, causal** | 0.25 | 1.0 | 51.5 | 91.1 | 101.0 |" in text
    assert "| **reuse, both** | 40 MiB (0.40) |" in text
    assert "2 cores of a CPU (2 threads), torch 2, transformers 5" in text
    tex = (tmp_path / "docs" / "tables" / "vit_real_matched.tex").read_text()
    assert r"\toprule" in tex and r"some\_model" not in tex.split(r"\begin{tabular}")[1] and "**" not in tex
    for name in ("vit_real", "vit_real_time", "vit_real_few", "latency", "memory", "scaling"):
        picture = f"docs/images/benchmarks/{name}.png"
        assert picture in changed and 0 < (tmp_path / picture).stat().st_size < 80_000
    before = text
    monkeypatch.setattr(report, "draw", lambda *_: [])
    write_report(results, tmp_path)
    assert (tmp_path / "docs" / "benchmarks.md").read_text() == before


def test_a_report_of_a_quick_run_says_so(results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = {"command": "python -m benchmarks run --quick", "machine": {}, "versions": {}, "model": "a"}
    results.open_part("memory", "stream_state", header)
    results.put("memory", "stream_state", "ViT-tiny | causal", {"quick": True}, {"mib": 3.0})
    document = tmp_path / "docs" / "streams.md"
    document.parent.mkdir()
    document.write_text("<!-- results: stream_state -->\nstale\n<!-- /results -->\n")
    monkeypatch.setattr(report, "draw", lambda *_: [])
    command = ["report", "--results", str(results.path), "--root", str(tmp_path)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1 and "has cells of a quick run (stream_state)" in " ".join(done.stderr.split())
    assert "stale" in document.read_text()
    done = CliRunner().invoke(app, [*command, "--quick"])
    assert done.exit_code == 0 and "docs/streams.md" in done.stdout
    assert "--quick: stream_state come from a quick run" in " ".join(done.stderr.split())
    assert "**From a quick run (`--quick`)" in document.read_text() and "| ViT-tiny | 3.0 |" in document.read_text()
    assert "% From a quick run" in (tmp_path / "docs" / "tables" / "stream_state.tex").read_text()


def test_the_readme_tells_who_knows_the_future(results: Results) -> None:
    lines = as_markdown(at_equal_kl(results.part("vit"))).splitlines()
    assert [line.split(" | ")[:2] for line in lines[4:]] == [
        ["| **reuse, causal**", "the past"],
        ["| held", "the past"],
        ["| **reuse, both**", "the clip"],
        ["| interpolated", "the clip"],
    ]
    assert f"| {(0.05 / 0.004) ** (-1 / 1.5):.1%} |" in lines[4]


def test_labels_stand_beside_the_divergence(results: Results) -> None:
    text, table = matched("real", "videos", "none", results.part("vit"))[:2]
    assert "(dense 20.0%)" in text and table.header[5] == "4x fewer: KL; labels kept; flicker"
    (row,) = [row for row in table.rows if row[0] == "held"]
    assert row[5] == f"{law(0.25, 0.008):.4f}; 90.0%; 10.0%"


def test_the_nearest_in_divergence_need_not_keep_most_labels(results: Results) -> None:
    held = f"held (KL {law(0.25, 0.008):.3f})"
    assert labels_of_rivals("causal", 4, results).text == (
        f"{held} is the nearest, and no other keeps more labels, 90.0% (90.0% to 90.0%)"
    )
    part = results.suites["fidelity"]["vit"]
    part["methods"] = {**METHODS, "gate": {**METHODS["skip_hold"], "title": "gate"}}
    for key, cell in list(part["cells"].items()):
        if "| skip_hold |" in key:
            nearer = {"kl": cell["kl"] / 2, "agreement": 0.5}
            part["cells"][key.replace("skip_hold", "gate")] = {**cell, **nearer}
    results.save()
    assert labels_of_rivals("causal", 4, Results(results.path)).text == (
        f"gate (KL {law(0.25, 0.004):.3f}) is the nearest and keeps 50.0% (50.0% to 50.0%) of the labels; "
        f"{held} keeps the most, 90.0% (90.0% to 90.0%)"
    )


def test_the_readme_sums_up_plans_of_a_trained_model(results: Results) -> None:
    header = {"machine": {}, "versions": {}, "model": "big model"}
    results.open_part("speed", "replay", header)
    for video, gain in (("a.mp4", 2.0), ("b.mp4", 8.0)):
        for mode in ("bidirectional", "causal"):
            values = {"kl": gain / 1000, "multiply_add_ratio": gain, "wall_clock_ratio": gain / 2}
            results.put("speed", "replay", f"{video} | {mode}", {}, values)
    text = as_markdown(replay.summary(results.part("replay")))
    assert "| bidirectional | 0.008 | 4.00x | 2.00x |" in text and "geometric mean of 2 videos" in text


def test_a_block_without_results_stays() -> None:
    text = "<!-- results: unknown -->\nkept\n<!-- /results -->"
    assert fill(text, {}) == text
    assert fill(text, {"unknown": ["new"]}) == "<!-- results: unknown -->\n\nnew\n\n<!-- /results -->"


def test_tables_in_markdown_and_latex() -> None:
    block = ["Share_of 100%", Table(("a_b", "c"), [("**50%**", "x & y"), ("1", "2")])]
    assert as_markdown(block) == "Share_of 100%\n\n| a_b | c |\n|---|---|\n| **50%** | x & y |\n| 1 | 2 |"
    latex = as_latex(block)
    assert r"\textbf{50\%} & x \& y \\" in latex and r"a\_b & c \\" in latex and "% Share_of 100%" in latex
