"""The pure parts of scripts/bench: ratios, verdicts, tables and the comparison. No timing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark import compare, measuring, report
from scripts.benchmark.cases import CASES
from scripts.benchmark.model import Case, Invocation, Sample, Target, derive, judge, ratio

TARGET = Target("at least 2x", "rate", 2, against="other")
CASE = Case(
    "case", "A case, of nodes", "nodes", lambda work: [], (TARGET,), shown=("rate", "cpu_us")
)


def record(ours: list[Sample], theirs: list[Sample]) -> dict[str, Any]:
    found = {"samples": {"mpshell": ours, "other": theirs}, "notes": {"other": "fewer nodes"}}
    found |= {"points": {}, "failures": {}, "left_out": ["a peer: not installed here."]}
    return {"cases": {"case": found}, "machine": {"kernel": "Linux"}, "quick": False}


def sample(seconds: float, cpu: float = 1.0) -> Sample:
    return derive({"units": 1000.0, "seconds": seconds, "cpu": cpu})


def test_rates_and_own_cpu_follow_from_a_sample() -> None:
    derived = derive({"units": 1000.0, "seconds": 2.0, "cpu": 0.1, "memory": 5e6})
    assert derived["rate"] == 500
    assert derived["cpu_us"] == pytest.approx(100)
    assert derived["per_cpu_second"] == pytest.approx(10_000)
    assert derived["memory_mb"] == 5


def test_a_ratio_is_taken_round_by_round() -> None:
    ours, theirs = [sample(1), sample(2), sample(4)], [sample(2), sample(2), sample(2)]
    found = ratio(ours, theirs, "rate")
    assert found is not None
    assert (found.least, found.median, found.greatest) == (0.5, 1, 2)


def test_fewer_rounds_are_paired_in_turn() -> None:
    found = ratio([sample(1), sample(1)], [sample(4)], "rate")
    assert found is not None and found.least == found.greatest == 4


def test_a_missing_measurement_has_no_ratio() -> None:
    assert ratio([], [sample(1)], "rate") is None
    assert ratio([sample(1)], [sample(1)], "unheard-of") is None


@pytest.mark.parametrize(("seconds", "reached"), [(1, True), (3, False)])
def test_a_target_against_another(seconds: float, reached: bool) -> None:
    verdict = judge(TARGET, {"mpshell": [sample(seconds)], "other": [sample(4)]})
    assert verdict is not None and verdict.reached is reached


def test_a_target_by_itself_and_one_that_is_only_reported() -> None:
    samples = {"mpshell": [sample(1, cpu=0.2)]}
    most = judge(Target("own CPU", "cpu_us", at_most=160), samples)
    assert most is not None and most.value == pytest.approx(200) and most.reached is False
    reported = judge(Target("own CPU", "cpu_us"), samples)
    assert reported is not None and reported.reached is None
    assert judge(TARGET, samples) is None


def test_the_page_names_targets_notes_and_omissions() -> None:
    page = report.page(record([sample(3)], [sample(4)]), {"case": CASE})
    assert (
        "| [case](#a-case-of-nodes) | at least 2x | 1.33 | 1.33 to 1.33 | **not reached** |" in page
    )
    assert "| other (fewer nodes) | 250 | 1e+03 |" in page.replace("1,000", "1e+03")
    assert "Left out: a peer: not installed here." in page


def test_a_comparison_separates_worse_better_and_noise() -> None:
    old, new = record([sample(1)], [sample(4)]), record([sample(1.02, cpu=2)], [sample(1)])
    rows = list(compare.table_rows(old, new, {"case": CASE}))
    assert [row[1] for row in rows] == [
        "mpshell: nodes/s", "mpshell: own CPU, us a node", "ratio: at least 2x",
    ]  # fmt: skip
    assert [row[-1] for row in rows] == ["", "**worse**", "**worse**"]
    assert compare.change(100, 50, more=False) == "better"


def test_every_case_is_shown_by_metrics_that_have_a_name() -> None:
    for case in CASES.values():
        for metric in case.shown:
            assert "_" not in report.head(metric, case)
        assert case.name == case.name.lower() and " " not in case.name


def test_a_run_is_measured_and_one_that_fails_or_hangs_is_reported(tmp_path: Path) -> None:
    found = measuring.measure(Invocation(["true"], units=2), tmp_path)
    assert found["units"] == 2 and found["rate"] > 0
    with pytest.raises(measuring.RunFailed, match="exit status 3\na reason"):
        measuring.measure(Invocation(["sh", "-c", "echo a reason >&2; exit 3"], 1), tmp_path)
    with pytest.raises(measuring.RunFailed, match=r"not at its end after 0\.2 s"):
        measuring.measure(Invocation(["sleep", "60"], 1, timeout=0.2), tmp_path)
