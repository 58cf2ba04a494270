"""The confusion matrix, of one run and of a configuration over its seeds alike."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from effnet_report.render.drawing import ON_LIGHT, OURS, canvas, plain, sentences

MOST_CLASSES, MOST_CONFUSIONS = 20, 15  # of a matrix that can be read, and of a list instead


def tally(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Number of images by true class (rows) and predicted class (columns).

    Args:
        labels: class indices, shape (N,).
        predicted: likewise.
        classes: their names.
    """
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    return pd.DataFrame(counts, index=list(classes), columns=list(classes))


def shares(counts: pd.DataFrame) -> pd.DataFrame:
    """The same as per cent of the true class; NaN where it has no image."""
    return 100 * counts.div(counts.sum(axis="columns"), axis="index")


def readable(counts: pd.DataFrame) -> bool:
    """Whether there are few enough classes for a matrix."""
    return len(counts) <= MOST_CLASSES


def pairs(counts: pd.DataFrame) -> pd.DataFrame:
    """What was taken for what, and how often, the most frequent first.

    Returns:
        The columns true, predicted, images; of more classes than a matrix can show, only the
        most frequent confusions.
    """
    names, values = counts.index.to_numpy(), counts.to_numpy()
    true, predicted = np.nonzero(values)
    table = pd.DataFrame(
        {"true": names[true], "predicted": names[predicted], "images": values[true, predicted]}
    ).sort_values("images", ascending=False, kind="stable")
    if readable(counts):
        return table
    return table[table["true"] != table["predicted"]].head(MOST_CONFUSIONS)


def in_words(counts: pd.DataFrame) -> str:
    """The drawing for those who cannot see it."""
    return sentences(pairs(counts), "{true} taken for {predicted}: {images}")


def draw(counts: pd.DataFrame) -> Figure:
    """Every true class against every predicted one, or the most frequent confusions."""
    return _matrix(counts) if readable(counts) else _most_frequent(pairs(counts))


def _matrix(counts: pd.DataFrame) -> Figure:
    classes, share = list(counts.columns), shares(counts).fillna(0).to_numpy()
    figure = canvas(min(2.8 + 0.7 * len(classes), 7.2), min(2 + 0.7 * len(classes), 7.2))
    axes = figure.subplots()
    axes.grid(visible=False)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=130)
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        if count or len(classes) < 6:  # many noughts would hide the rest
            axes.text(
                *(column, row), _in_cell(count, share[row, column], len(classes)),
                ha="center", va="center",
                color="white" if share[row, column] > 65 else ON_LIGHT,
            )  # fmt: skip
    words = [plain(name) for name in classes]
    axes.set_xticks(range(len(classes)), words, rotation=20 if len(classes) < 6 else 60, ha="right")
    axes.set_yticks(range(len(classes)), words)
    axes.set(xlabel="predicted", ylabel="true class")
    return figure


def _in_cell(count: int, share: float, classes: int) -> str:
    """The share of the true class, and the number of images where there is room for it."""
    return f"{count:,}\n{share:.0f} %" if classes < 12 else f"{share:.0f}"


def _most_frequent(confusions: pd.DataFrame) -> Figure:
    most = confusions[::-1]
    figure = canvas(7.2, 1.2 + 0.3 * len(most))
    axes = figure.subplots()
    words = [f"{plain(row.true)} → {plain(row.predicted)}" for row in most.itertuples()]
    axes.barh(range(len(most)), most["images"], color=OURS)
    axes.set_yticks(range(len(most)), words)
    axes.set_xlabel("test images")
    return figure
