"""The campaign: everything that was tried to lose a run, or to have a false record believed.

It is all tests in `faults/` and, elsewhere, those marked `fault`. The suite tries each of them, a
few times each. `make campaign` tries more often and for longer, and what a cluster may lose, and
writes its tally into SECURITY.md.
"""

import re
from collections import Counter
from datetime import UTC, datetime

import pytest

from effnet_core import paths

SECURITY = paths.ROOT / ".github" / "SECURITY.md"
TALLIED = re.compile(r"(?<=<!-- tally -->\n).*(?=<!-- end of tally -->)", re.DOTALL)
# What must not happen, in words, and what was left out. Everything else in the tally was tried.
HARM = {
    "lost": "runs lost",
    "false": "false records believed",
    "unclear": "unclear errors",
    "failed": "tests failed",
    "skipped": "tests skipped",
}
TALLY: Counter[str] = Counter()


def pytest_addoption(parser):
    told = "try to lose runs more often and for longer, and write the tally into SECURITY.md"
    parser.addoption("--campaign", action="store_true", help=told)


def pytest_collection_modifyitems(items):
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.fault)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    for mark in (*item.iter_markers("fault"), *item.iter_markers("cluster")):
        if report.failed:
            TALLY["failed"] += 1
        elif report.skipped:
            TALLY["skipped"] += 1
        elif mark.args and report.when == "call" and report.passed:
            TALLY[mark.args[0]] += 1
    return report


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if tried():
        terminalreporter.write_line(summary())
    whole = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if config.getoption("--campaign") and whole:
        today = datetime.now(UTC).date().isoformat()
        text = TALLIED.sub(lambda _: f"{today}: {summary()}\n", SECURITY.read_text("utf-8"))
        SECURITY.write_text(text, "utf-8")


def tried() -> dict[str, int]:
    return {fault: count for fault, count in TALLY.most_common() if fault not in HARM}


def summary() -> str:
    harm = ", ".join(f"{words} {TALLY[name]}" for name, words in HARM.items())
    what = ", ".join(f"{fault} ({count})" for fault, count in tried().items())
    return f"Of {sum(tried().values()):,} attempts: {harm}. What was tried: {what}."


@pytest.fixture
def tally() -> Counter[str]:
    return TALLY


@pytest.fixture(scope="session")
def campaign(pytestconfig) -> bool:
    """Whether this is the campaign, which takes its time, or the suite."""
    return pytestconfig.getoption("--campaign")


@pytest.fixture
def clear():
    """Checks that an error is told in words, not as a traceback or not at all."""

    def check(error: str) -> str:
        unclear = "Traceback" in error or len(error.split()) < 5
        TALLY["unclear"] += unclear
        assert not unclear, error
        return error

    return check
