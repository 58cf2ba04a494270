"""The command `effnet` around the sweep: help, status, plan, publish, bad input."""

import re

import pytest


def test_help_names_every_command(clone):
    text = clone.run("effnet", "--help").stdout
    for command in ("sweep", "status", "plan", "publish"):
        assert command in text


def test_status_of_nothing_is_a_grid_of_28(clone):
    result = clone.run("effnet", "status", "quick")
    rows = re.findall(
        r"│\s+(\d+)\s+│\s+(\d)\s+│\s+(none|mlp)\s+│\s+(plateau|cosine)", result.stdout
    )
    assert [int(row[0]) for row in rows] == list(range(1, 29))
    assert "29 missing" in result.stdout


def test_plan_counts_and_starts_nothing(clone):
    result = clone.run("effnet", "plan", "quick")
    assert result.returncode == 0, result.stderr
    assert "28 runs on cpu" in result.stdout
    assert "180 training, 60 validation and 80 test images" in result.stdout
    trainable = [float(x) for x in re.findall(r"│ (\d+\.\d+) M", result.stdout)]
    assert len(trainable) == 28
    assert trainable[0] > trainable[-1]
    assert clone.files() == set()


@pytest.mark.parametrize("command", ["sweep", "status", "plan", "publish"])
def test_unknown_study(clone, command):
    result = clone.run("effnet", command, "qick")
    assert result.returncode == 1
    assert "did you mean 'quick'" in result.stderr
    assert "Traceback" not in result.stderr


def test_publish_needs_records(clone):
    result = clone.run("effnet", "publish", "quick")
    assert result.returncode == 1
    assert "no records" in result.stderr
