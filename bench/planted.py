"""How many planted label errors an audit finds: `python -m bench.planted elpv fashion_mnist`.

A copy of a data set, or of a folder with a folder per class, gets wrong labels for one image in
twenty, drawn by chance. A small study is trained on the copy, and its audit is compared with what
was planted. The answer is written to `results/audit.json`, beside that of one run per image: its
most confident errors on images that it did not train on.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from effnet_core import paths, run
from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.study import records
from effnet_core.study.studies import load_study
from effnet_report.audit.judgements import Judgements, judgements
from effnet_report.evidence import evidence
from effnet_report.measurements import planted
from effnet_report.sweep import sweep

FLIPPED, FIRST, IMAGES = 0.05, 50, 3000
STUDY = {
    "seeds": [0, 1, 2],
    "factors": {"freeze": [6], "head": ["none", "mlp"], "scheduler": ["cosine"]},
}
PROTOCOL = {
    **{"dataset": "imagefolder", "folds": 3, "image_size": 96, "norm_statistics": "pretrained"},
    **{"learning_rate": 3e-4, "epochs": 6, "early_stop_patience": None},
}


def plant(name: str, folder: Path) -> pd.DataFrame:
    """A copy of a data set, or of 3,000 of its images, with wrong labels in its table.

    Returns:
        What `labels.csv` in the folder says, and `truth`; one row per image.
    """
    own = Path(name).is_dir()
    dataset = load_dataset("imagefolder", name) if own else load_dataset(name)
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(dataset))[:IMAGES])
    wrong = rng.random(len(chosen)) < FLIPPED
    shift = rng.integers(1, len(dataset.classes), len(chosen))
    given = (dataset.labels[chosen] + np.where(wrong, shift, 0)) % len(dataset.classes)
    classes = np.array(dataset.classes)
    table = pd.DataFrame(
        {
            "path": [f"{dataset.names[index]}.png".replace("/", " ") for index in chosen],
            "label": classes[given],
            "truth": classes[dataset.labels[chosen]],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    for path, index in zip(table["path"], chosen, strict=True):
        _image(dataset, index).save(folder / path)
    table[["path", "label"]].to_csv(folder / "labels.csv", index=False)
    return table


def _image(dataset: Dataset, index: int) -> Image.Image:
    image = dataset.images[index]
    return Image.fromarray(image) if isinstance(image, np.ndarray) else Image.open(image)


def train(study: str) -> None:
    """All runs of a study that have not finished, one after the other, in this process.

    Args:
        study: the path of its file.
    """
    for settings in load_study(study).runs():
        if not records.record_path(settings.study, settings.run_id).is_file():
            run.execute(settings.levels | {"study": study, "seed": settings.seed})


def compare(judged: Judgements, single: pd.DataFrame, table: pd.DataFrame) -> dict[str, float]:
    """What an audit found of what was planted.

    Args:
        single: test predictions of one configuration; the folds test every image once.
        table: as `plant` gives it.
    """
    table = table.set_index("path")
    wrong = table["label"] != table["truth"]
    first = min(FIRST, int(wrong.sum()))
    suspects = judged.suspects
    sure = single["confidence"].where(single["label"] != single["predicted"], -single["confidence"])
    alone = sure.sort_values(ascending=False).index[:first]
    predicted = pd.DataFrame(judged.votes, index=judged.names, columns=judged.classes)
    truth = predicted.columns.get_indexer(table["truth"].loc[judged.names])
    suspected = suspects.loc[suspects["suspected"], "image"]
    checked = np.where(judged.names.isin(suspected), truth, judged.labels)
    rows = np.arange(len(truth))
    return {
        "images": len(table),
        "planted": int(wrong.sum()),
        "first": first,
        "precision": float(wrong.loc[suspects["image"].iloc[:first]].mean()),
        "one_run_precision": float(wrong.loc[alone].mean()),
        "suspected": len(suspected),
        "suspected_precision": float(wrong.loc[suspected].mean()),
        "suspected_recall": float(wrong.loc[suspected].sum() / wrong.sum()),
        "accuracy": 100 * judged.accuracy,
        "most_accuracy": 100 * judged.corrected_accuracy,
        "checked_accuracy": 100 * float(judged.votes[rows, checked].mean()),
        "true_accuracy": 100 * float(judged.votes[rows, truth].mean()),
    }


def main() -> None:
    path = planted.path()
    results = json.loads(path.read_text()) if path.is_file() else {}
    for name in sys.argv[1:]:
        known = Path(name).name
        study, folder = f"planted-{known}", paths.CACHE / "planted" / known
        table = plant(name, folder)
        protocol = PROTOCOL | {"labels": str(folder / "labels.csv")}
        content = STUDY | {"title": f"Wrong labels in {name}", "protocol": protocol}
        design = folder / f"{study}.yml"
        design.write_text(yaml.safe_dump(content), encoding="utf-8")
        train(str(design))
        sweep.leave_design(load_study(str(design)), design)
        finished = evidence.load(study)
        single = pd.concat(finished.predictions(record) for record in finished.best)
        results[known] = compare(judgements(finished), single, table)
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(results[known], indent=1), flush=True)


if __name__ == "__main__":
    main()
