"""From the command to the first step of training: `python -m bench.start`, an arm of its own.

It works like those of `arms.py`, whose file counts for what others have measured.
"""

import compileall
import json
import subprocess
import sys
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import yaml
from IPython.display import HTML

from bench.beside import TRAINING, seconds_between
from bench.summary import STUDY, Found
from effnet_core import paths
from effnet_core.study.design import run_id
from effnet_report.numbers import number
from effnet_report.pages.speed import needs
from effnet_report.render.html import table

# What somebody waits for, one after the other; each lasts until the next begins.
PARTS = {
    "command": "the command itself, until a notebook begins",
    "kernel": "its kernel, which has imported all that it needs",
    "cells": "settings, images, backbone and head, until training begins",
}
# One configuration, nothing of it there yet.
ONE = {"factors": {"freeze": [0], "head": ["none"], "scheduler": ["plateau"]}, "seeds": [0]}


def start() -> Found:
    """A sweep's first run, for which images are decoded, and a typed run, which finds them."""
    here = Path(sys.executable).parent
    for package in ("effnet_core", "effnet_report"):  # as after anybody's first command
        compileall.compile_dir(package, quiet=1)
    sweep = _wait([here / "effnet", "sweep", _study("swept")], "swept")
    typed = ["notebooks/train.ipynb", "-p", "study", _study("typed"), "-p", "freeze", "0"]
    return {"sweep": sweep, "typed": _wait([here / "papermill", *typed], "typed")}


def _study(name: str) -> str:
    content = yaml.safe_load((paths.STUDIES / f"{STUDY}.yml").read_text(encoding="utf-8")) | ONE
    content["protocol"] |= {"epochs": 1, "early_stop_patience": 1}
    (paths.STUDIES / f"{name}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return name


def _wait(command: list[str | Path], study: str) -> Found:
    """Seconds of each part, and of all."""
    began = datetime.now(UTC).isoformat()
    subprocess.run(command, check=True, capture_output=True)
    file = paths.executed(study) / f"{run_id(0, 'none', 'plateau', 0)}.ipynb"
    notebook = nbformat.read(file, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (training,) = (cell for cell in cells if TRAINING in cell.source)
    moments = [
        began,
        notebook.metadata.papermill.start_time,
        cells[0].metadata.papermill.start_time,
        training.metadata.papermill.start_time,
    ]
    each = [seconds_between(*ends) for ends in pairwise(moments)]
    return dict(zip(PARTS, each, strict=True)) | {"all": sum(each)}


@needs("start")
def show(bench: Found) -> HTML:
    """Where the time until the first step goes."""
    found = bench["start"]
    frame = pd.DataFrame(
        {
            "part": [*PARTS.values(), "all"],
            **{f"{what}, s": [found[what][part] for part in (*PARTS, "all")] for what in found},
        }
    )
    longest = max(PARTS, key=lambda part: found["sweep"][part])
    return table(
        frame,
        "start",
        finding=(
            f"A sweep's first step of training comes {number(found['sweep']['all'])} s after the "
            f"command, a typed run's {number(found['typed']['all'])} s; the longest part of a "
            f"sweep's is “{PARTS[longest]}”."
        ),
        caption=(
            "By papermill's own clock, on nothing frozen, with no images decoded before the "
            "sweep. The parent of all kernels imports while the command reads images."
        ),
        decimals=1,
    )


if __name__ == "__main__":
    print(json.dumps(start()), flush=True)
