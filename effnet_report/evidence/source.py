"""Published results: the two tables of the source, and the literature on a data set."""

import pandas as pd

from effnet_core import paths
from effnet_core.study.design import SOURCE_FACTORS
from effnet_report.words import configuration

FOLDER = paths.BOOK / "data"
CLAIMS = FOLDER / "source_claims.json"  # verdicts on the tables


def results() -> pd.DataFrame:
    """The source's Table 1, row for row.

    Returns:
        28 rows: number (1..28), head, freeze, scheduler, words (the configuration), seed (the
        source trained once: 0), and accuracy, precision, recall in per cent, each the best of the
        training cycle on the validation set.
    """
    table = pd.read_csv(FOLDER / "source_results.csv").rename(columns={"model": "number"})
    levels = table[[*SOURCE_FACTORS]].to_dict("records")
    return table.assign(seed=0, words=[configuration(row) for row in levels])


def comparison() -> pd.Series:
    """The source's Table 2: accuracy in per cent by method (baseline, best_ml, best_dl)."""
    return pd.read_csv(FOLDER / "source_comparison.csv", index_col="method")["accuracy"]


def literature(dataset: str) -> pd.DataFrame:
    """Published results on a data set.

    Returns:
        One row per result: method, accuracy (per cent), train_images, test_images, citation,
        link.
    """
    table = pd.read_csv(FOLDER / "literature.csv")
    return table[table["dataset"] == dataset].drop(columns="dataset")
