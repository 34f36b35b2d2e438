"""The main module of `scripts/bench`: chooses cases, runs them round by round, prints and keeps the results."""

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import Any

from scripts.benchmark import compare, machine, measuring, report
from scripts.benchmark.cases import CASES
from scripts.benchmark.model import Case, Sample
from scripts.benchmark.workplace import Workplace

_DOCS = Path(__file__).parents[2] / "docs"
_RECORD = _DOCS / "benchmarks" / "benchmarks.json"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_case(case: Case, work: Workplace, pairs: int) -> dict[str, Any]:
    """Run a case's contenders in turn, `pairs` times; return its record.

    A contender that fails takes no more part, and the record has the reason.
    """
    contenders = case.contenders(work)
    samples: dict[str, list[Sample]] = {contender.label: [] for contender in contenders}
    failures: dict[str, str] = {}
    for number in range(min(pairs, case.rounds)):
        for contender in contenders:
            if number >= contender.rounds or contender.label in failures:
                continue
            try:
                sample = measuring.measure(contender.invocation, work.directory)
            except measuring.RunFailed as error:
                say(f"  {number + 1} {contender.label}: FAILED: {error}")
                failures[contender.label] = str(error).splitlines()[-1][:200]
                continue
            samples[contender.label].append(sample)
            say(f"  {number + 1} {contender.label}: {report.brief(sample, case)}")
    return {
        "samples": samples,
        "notes": {contender.label: contender.note for contender in contenders if contender.note},
        "points": {contender.label: contender.point for contender in contenders if contender.point},
        "failures": failures,
    }


def run(names: list[str], quick: bool, pairs: int) -> dict[str, Any]:
    """Measure the cases, and return the record of it."""
    measuring.prepare()
    record: dict[str, Any] = {"machine": machine.describe(), "quick": quick, "cases": {}}
    with tempfile.TemporaryDirectory(prefix="mpshell-bench-") as directory:
        work = Workplace(Path(directory), quick)
        try:
            for name in names:
                case = CASES[name]
                say(f"{name}: {case.title}")
                begin = time.monotonic()
                left_out_before = len(work.left_out)
                found = run_case(case, work, pairs)
                found["left_out"] = work.left_out[left_out_before:]
                found["took"] = time.monotonic() - begin
                record["cases"][name] = found
        finally:
            work.close()
    return record


def keep(record: dict[str, Any], path: Path) -> None:
    """Write a record; cases of an earlier one there that were not measured now stay."""
    if path.exists():
        earlier = json.loads(path.read_text())
        measured = {**earlier["cases"], **record["cases"]}
        record = {**record, "cases": {name: measured[name] for name in CASES if name in measured}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the cases")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="CASE[,CASE]")
    parser.add_argument("--quick", action="store_true", help="small sizes and one pair, to try")
    parser.add_argument("--pairs", type=int, metavar="N", help="rounds of each case, at most (5)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="keep all samples; in a file that is there other cases stay",
    )  # fmt: skip
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument("--write", action="store_true",
                        help="make docs/benchmarks.md, with its JSON and plots")  # fmt: skip
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE",
                        help="with --write: from such a file, measuring nothing")  # fmt: skip
    options = parser.parse_args(arguments)
    for name in options.only or ():
        if name not in CASES:
            parser.error(f"no case {name!r}: there are {', '.join(CASES)}")
    if options.pairs is not None and options.pairs < 1:
        parser.error(f"--pairs {options.pairs}: at least 1")
    if options.source is not None and not options.write:
        parser.error("--from goes with --write")
    return options


def write_docs(record: dict[str, Any]) -> None:
    """Make the page and its plots."""
    from scripts.benchmark import plots  # matplotlib takes its time

    plots.draw(record, _DOCS / "benchmarks")
    (_DOCS / "benchmarks.md").write_text(report.page(record, CASES))
    say("docs/benchmarks.md is written")


def on_term(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(arguments: list[str]) -> None:
    options = parse(arguments)
    if options.list:
        for case in CASES.values():
            print(f"{case.name:16} {case.title}")
        return
    if options.compare:
        old, new = (json.loads(path.read_text()) for path in options.compare)
        print(compare.compare_table(old, new, CASES))
        return
    if options.source:
        write_docs(json.loads(options.source.read_text()))
        return
    signal.signal(signal.SIGTERM, on_term)
    begin = time.monotonic()
    names = [name for name in CASES if not options.only or name in options.only]
    record = run(names, options.quick, options.pairs or (1 if options.quick else 5))
    for name in names:
        print(report.case_section(CASES[name], record["cases"][name]))
    say(f"{time.monotonic() - begin:.0f} s")
    if options.json:
        keep(record, options.json)
    if options.write:
        keep(record, _RECORD)
        write_docs(json.loads(_RECORD.read_text()))
    if any(found["failures"] for found in record["cases"].values()):
        raise SystemExit(1)
