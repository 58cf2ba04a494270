"""The tutorial, followed: each of its commands, on the real photos that it makes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from effnet_core import paths

# Four runs instead of all, of a size that does not depend on how busy the machine was when it was
# timed: the commands are what is tried.
FEW = {"factors": {"freeze": [0, 6], "head": ["none"], "scheduler": ["cosine"]}, "seeds": [0, 1]}
SIZE = {"image_size": 64, "epochs": 5, "max_images": 0, "folds": 4}
SHOWN = paths.BOOK / "tutorial"  # what each command prints, as the page shows it
# Outputs whose numbers are measured on this machine.
MEASURED = {"new.txt", "recommend.txt", "export.txt"}
WIDTH = 96  # letters that a line of the page has room for


def page() -> str:
    return (paths.BOOK / "tutorial.md").read_text()


def steps() -> list[tuple[str, str]]:
    """The commands of the page, each with the name of the file that shows its output, or none."""
    output = r"(?:\s*```\{literalinclude\} tutorial/(\S+))?"
    return re.findall(rf"```bash\n(.*?)\n```{output}", page(), flags=re.DOTALL)


def comparable(name: str, output: str) -> list[str]:
    """What an output says on every machine: its words, in whichever order runs end.

    Times are left out, and so are the numbers of cores and whatever else is measured here.
    """
    words = re.sub(r"[\u2500-\u257f]", " ", output)  # the lines of tables
    words = re.sub(r"\b[\d.]+ (?:s|min|h)\b", "TIME", words)
    words = re.sub(r"\d+(?=\s+side\s+by\s+side|\s+in\s+parallel)", "CORES", words)
    if name in MEASURED:
        words = re.sub(r"[+\u2212-]?\d[\d.]*", "#", words)
        words = re.sub(r"#(?:, #)*", "#", words)
    return sorted(words.split())


def follow(clone, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=clone.root,
        env=clone.environment
        | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": str(WIDTH),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow("minutes")
def test_the_tutorial_leads_from_photos_to_a_report_and_a_model(clone, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    clone.bring_book("experiment", "images", "results", "reproducibility")
    (photos,) = re.findall(r"```python\n(.*?)```", page(), flags=re.DOTALL)
    follow(clone, sys.executable, "-c", photos)
    tiles = sorted((clone.root.parent / "photos").rglob("*.png"))
    assert len({Image.open(tile).tobytes() for tile in tiles}) == len(tiles) == 108

    printed = tmp_path / "tutorial"
    printed.mkdir()
    told = {}
    for command, name in steps():
        told[command] = follow(clone, "bash", "-c", command)
        if name:
            lines = "\n".join(line.rstrip() for line in told[command].splitlines())
            (printed / name).write_text(lines.strip("\n") + "\n")
        if command.startswith("effnet new"):
            study = clone.root / "studies" / "ground.yml"
            written = yaml.safe_load(study.read_text())
            seeds, depths = written["seeds"], written["factors"]["freeze"]
            timed = rf"{len(depths) * len(seeds)} runs, about \d\S* \w+ here"
            assert re.search(timed, " ".join(told[command].split()))
            written |= FEW
            written["protocol"] |= SIZE
            study.write_text(yaml.safe_dump(written))

    (as_json,) = (text for command, text in told.items() if command.endswith("--json"))
    found = json.loads(as_json)
    assert len(found) == 30
    assert sum(Path(one["image"]).parent.name == one["label"] for one in found) > 20
    site = (clone.root / "_build" / "html" / "index.html").read_text()
    assert all(name in site for name in ("brick", "grass", "gravel"))
    assert "solar" not in site
    changed = [
        path.name
        for path in sorted(printed.iterdir())
        if not (SHOWN / path.name).is_file()
        or comparable(path.name, path.read_text())
        != comparable(path.name, (SHOWN / path.name).read_text())
    ]
    assert changed == [], f"Read what these commands print now in {printed}; copy it to {SHOWN}."


def test_every_output_that_the_page_shows_is_that_of_a_command():
    shown = [name for _, name in steps() if name]
    assert len(shown) == page().count("{literalinclude}") == len(set(shown))
    assert sorted(shown) == sorted(path.name for path in SHOWN.iterdir())


@pytest.mark.parametrize(
    ("name", "before", "now", "same"),
    [
        ("sweep.txt", "[1, 9 s left] a\n[2, 0 s left] b", "[1, 2 h left] b\n[2, 1 s left] a", True),
        ("sweep.txt", "2 runs to do, 2 side by side.", "2 runs to do, 16 side by side.", True),
        ("plan.txt", "and 9 s with 2 in\nparallel", "and 4 s with 16 in parallel", True),
        ("sweep.txt", "2 runs to do, 2 side by side.", "3 runs to do, 2 side by side.", False),
        ("predict.txt", "\u2502 brick \u2502 99.1 %", "\u2502 brick \u2502 98.1 %", False),
        ("new.txt", "0, 3, 6 \u2502 \u00b1 1.5 points", "0, 1, 2 \u2502 \u00b1 9 points", True),
        ("new.txt", "\u00b1 1.5 points", "does not fit", False),
    ],
)  # fmt: skip
def test_only_what_is_measured_may_differ(name, before, now, same):
    assert (comparable(name, before) == comparable(name, now)) is same
