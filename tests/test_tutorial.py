"""The tutorial, followed: each of its commands, on the real photos that it makes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from effnet_core import paths

# Two runs instead of all, of a size that does not depend on how busy the machine was when it was
# timed: the commands are what is tried.
FEW = {"factors": {"freeze": [6], "head": ["none", "mlp"], "scheduler": ["plateau"]}, "seeds": [0]}
SIZE = {"image_size": 96, "epochs": 5, "max_images": 0, "folds": 0}


def blocks(kind: str) -> list[str]:
    page = (paths.BOOK / "tutorial.md").read_text()
    return re.findall(rf"```{kind}\n(.*?)```", page, flags=re.DOTALL)


def follow(clone, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=clone.root,
        env=clone.environment
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow("minutes")
def test_the_tutorial_leads_from_photos_to_a_report_and_a_model(clone):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    shutil.copytree(paths.BOOK, clone.root / "book", ignore=shutil.ignore_patterns("runs"))
    shutil.copy(paths.ROOT / "_config.yml", clone.root)
    (photos,) = blocks("python")
    follow(clone, sys.executable, "-c", photos)
    tiles = sorted((clone.root.parent / "photos").rglob("*.png"))
    assert len({Image.open(tile).tobytes() for tile in tiles}) == len(tiles) == 108

    said = {}
    for line in "".join(blocks("bash")).splitlines():
        said[line] = follow(clone, "bash", "-c", line)
        if line.startswith("effnet new"):
            study = clone.root / "studies" / "ground.yml"
            written = yaml.safe_load(study.read_text())
            seeds, depths = written["seeds"], written["factors"]["freeze"]
            timed = rf"{len(depths) * len(seeds)} runs, about \d\S* \w+ here"
            assert re.search(timed, " ".join(said[line].split()))
            written |= FEW
            written["protocol"] |= SIZE
            study.write_text(yaml.safe_dump(written))
    told = {" ".join(line.split()[:2]): text for line, text in said.items()}
    assert "brick" in told["effnet plan"]
    # Two configurations and the classical comparison.
    assert "3 of 3 runs to do" in told["effnet sweep"]
    asked = next(line for line in said if line.endswith("--json"))
    found = json.loads(said[asked])
    assert len(found) == 30
    assert sum(Path(one["image"]).parent.name == one["label"] for one in found) > 20
    assert "agree" in told["effnet export"]
    page = (clone.root / "_build" / "html" / "index.html").read_text()
    assert all(name in page for name in ("brick", "grass", "gravel"))
    assert "solar" not in page
