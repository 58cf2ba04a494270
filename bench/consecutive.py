"""Does a random split of solar cells leak? `python -m bench.consecutive`, half an hour.

Cells of one module were probably photographed and numbered together, and the data set does not say
which. So the main study's network is trained with blocks of 100 consecutive numbers kept on one
side of every split, at the least and at the largest number of frozen stages. Which images each
model has right is written to `results/consecutive.json`. A run that has a record is not repeated.
"""

import multiprocessing
from pathlib import Path

import pandas as pd
import yaml

from effnet_core import paths, run
from effnet_core.data.datasets import elpv
from effnet_core.study import records
from effnet_core.study.design import FREEZE, Settings
from effnet_core.study.provenance import commit, hardware
from effnet_core.study.studies import load_study
from effnet_report.measurements.consecutive import Consecutive

BLOCK = 100  # cells; a module has 36, 60 or 72 of them
STUDY = "consecutive"
LIKE = "elpv"  # the study whose protocol is used
LEVELS = {"head": "none", "scheduler": "cosine"}
FACTORS = {"freeze": [FREEZE[0], FREEZE[-1]]} | {name: [level] for name, level in LEVELS.items()}
CORES = 2


def write_study() -> Path:
    """The main study's protocol, with the images as a table that names the block of each."""
    dataset, like = elpv(), load_study(LIKE)
    folder = paths.CACHE / STUDY
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(
        {
            "path": [image.name for image in dataset.images],
            "label": [dataset.classes[label] for label in dataset.labels],
            "block": [f"block {index // BLOCK}" for index in range(len(dataset))],
        }
    ).to_csv(folder / "labels.csv", index=False)
    given = {"data_dir": str(dataset.images[0].parent), "labels": "labels.csv", "groups": "block"}
    protocol = like.protocol.model_dump(exclude_unset=True) | {"dataset": "imagefolder"} | given
    protocol["learning_rate"] = list(like.protocol.rates)
    content = {"title": "Blocks of solar cells", "seeds": like.seeds, "factors": FACTORS}
    path = folder / f"{STUDY}.yml"
    path.write_text(yaml.safe_dump(content | {"protocol": protocol}), encoding="utf-8")
    return path


def train(study: Path, settings: Settings) -> None:
    """One run, unless it has a record."""
    if not records.record_path(settings.study, settings.run_id).is_file():
        run.execute(settings.levels | {"study": str(study), "seed": settings.seed})


def right_by_cell(runs: list[Settings]) -> str:
    """For each cell in the order of its number: 1 if the model that tested it was right, else 0."""
    paths_of = [records.record_path(settings.study, settings.run_id) for settings in runs]
    table = pd.concat(records.load_predictions(path) for path in paths_of)
    table = table[table["part"] == "test"].sort_values("image")
    return "".join("1" if right else "0" for right in table["label"] == table["predicted"])


def main() -> None:
    study = write_study()
    runs = list(load_study(str(study)).runs())
    # Each run has a process of its own: a process keeps the threads of its first run.
    with multiprocessing.get_context("spawn").Pool(CORES, maxtasksperchild=1) as pool:
        pool.starmap(train, [(study, settings) for settings in runs], chunksize=1)
    right = {
        frozen: right_by_cell([one for one in runs if one.freeze == frozen])
        for frozen in FACTORS["freeze"]
    }
    measured = Consecutive(
        study=LIKE,
        levels=LEVELS,
        block=BLOCK,
        right=right,
        commit=commit(),
        hardware=hardware(),
    )
    measured.save()


if __name__ == "__main__":
    main()
