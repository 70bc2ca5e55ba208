"""Verify a whole file or database."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Final

from engine.cli.arguments import add_json, add_place
from engine.cli.command import Command
from engine.cli.console import Console
from engine.cli.exits import Exit
from engine.cli.texts import counted
from engine.storage.findings import Report


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of ``check``."""
    add_place(parser)
    add_json(parser, "write one JSON object")


def check(arguments: Namespace, console: Console) -> Exit:
    """Write each problem, and how many jobs and transitions were checked."""
    place = arguments.place
    with console.progress(f"checking {place.name}", "jobs and transitions") as progress:
        report = place.check(progress)
    if arguments.json:
        findings = [finding._asdict() for finding in report.findings]
        counts = {"jobs": report.jobs, "transitions": report.transitions}
        console.json({**counts, "problems": report.problems, "findings": findings})
    else:
        _write_report(report, place.name, console)
    return Exit.DAMAGED if report.problems else Exit.OK


def _write_report(report: Report, name: str, console: Console) -> None:
    for where, problem in report.findings:
        console.line(f"{where}: {problem}")
    more = report.problems - len(report.findings)
    if more:
        console.line(f"and {more:,} more")
    verdict = {0: "sound", 1: "1 problem"}.get(report.problems, f"{report.problems:,} problems")
    jobs = counted(report.jobs, "job")
    console.line(f"{name}: {jobs}, {counted(report.transitions, 'transition')}: {verdict}")


COMMAND: Final = Command(
    name="check",
    help_order=7,
    help="verify every job and transition, and what belongs to them",
    add_arguments=add_arguments,
    run=check,
    examples=("check jobs.db", "check postgresql://localhost/jobs --json"),
)
