"""What the documents claim is what the results say, and what differs is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command_line
from benchmarks import claims, report
from benchmarks.claim_figures import Figure
from benchmarks.claims import Claim, check, quote
from benchmarks.common import RESULTS, ROOT
from benchmarks.report import blocks, outdated
from benchmarks.store import Results


def test_the_documents_claim_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its splits take seconds, and another test has them.
    monkeypatch.setattr(report, "blocks", lambda found: {k: v for k, v in blocks(found).items() if k != "calibration"})
    results = Results(RESULTS)
    assert [*check(results, ROOT), *outdated(results, ROOT)] == []
    assert len(claims.BY_NAME) == len(claims.CLAIMS)


@pytest.fixture
def one_claim(monkeypatch: pytest.MonkeyPatch) -> Results:
    """Results of which one thing is claimed."""
    claim = Claim(
        "gain", ("README.md", "docs/a.md"), "{figure} fewer ({interval})", lambda results: Figure("2x", "", "1x to 3x")
    )
    monkeypatch.setattr(claims, "CLAIMS", (claim,))
    monkeypatch.setattr(claims, "BY_NAME", {"gain": claim})
    return Results(Path("none.json"))


def test_every_place_that_differs_is_named(
    one_claim: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs" / "report").mkdir(parents=True)
    (tmp_path / "README.md").write_text("<!-- results: a -->2x fewer (1x to 3x)<!-- /results -->\n")
    (tmp_path / "docs" / "a.md").write_text("Needs <!-- claim: gain -->2x<!-- /claim --> fewer.\n")
    assert check(one_claim, tmp_path) == []
    (tmp_path / "README.md").write_text("It needs 4x fewer (1x to 3x), and `7x` of 16 x 16, with 95 % confidence.\n")
    (tmp_path / "docs" / "a.md").write_text(
        "<!-- claim: gain -->5x<!-- /claim --><!-- claim: pain -->5x<!-- /claim -->"
    )
    (tmp_path / "docs" / "report" / "report.tex").write_text(r"\claim{gain} \interval{other}")
    expected = [
        "README.md: gain does not stand there as '2x fewer (1x to 3x)'",
        "README.md: 4x is quoted without a claim",
        "README.md: 1x is quoted without a claim",
        "README.md: 3x is quoted without a claim",
        "docs/a.md: gain is quoted as '5x', and is '2x'",
        "docs/a.md: there is no claim pain",
        "docs/report/report.tex: gain is not declared to stand there",
        "docs/report/report.tex: there is no claim other",
    ]
    assert sorted(check(one_claim, tmp_path)) == sorted(expected)
    for name in ("outdated", "stale"):
        monkeypatch.setattr(command_line, name, lambda *_: [])
    done = CliRunner().invoke(command_line.app, ["claims", "--results", "none.json", "--root", str(tmp_path)])
    assert done.exit_code == 1 and all(place in done.output for place in expected)
    assert "gain" in done.output and "1x to 3x" in done.output
    assert quote(one_claim, (tmp_path / "docs" / "a.md").read_text()) == (
        "<!-- claim: gain -->2x<!-- /claim --><!-- claim: pain -->5x<!-- /claim -->"
    )
