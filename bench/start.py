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
import yaml

from bench.summary import STUDY, Found
from effnet_core import paths
from effnet_report.evidence.clock import TRAINING, seconds_between

# What somebody waits for, one after the other; each lasts until the next begins.
PARTS = ("command", "kernel", "cells")
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
    file = paths.executed(study) / "01-freeze0-none-plateau-seed0.ipynb"
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


if __name__ == "__main__":
    print(json.dumps(start()), flush=True)
