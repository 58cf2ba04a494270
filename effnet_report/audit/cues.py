"""What could give a class away besides the object: size, brightness, file name, camera; and twins.

A model that recognises one of these looks better on such images than it will elsewhere.
"""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import ExifTags

from effnet_core.data.datasets import Dataset
from effnet_core.data.formats import open_image
from effnet_core.data.images import decode
from effnet_report.audit.judgements import Judgements

SIDE = 32  # pixels of the squares that are compared
ALIKE = 0.995  # correlation of two squares' pixels
QUARTERS, FEWEST = 4, 10  # groups of a number; images of a group that is shown
TOGETHER = 500  # rows of a matrix product


def look(dataset: Dataset) -> tuple[pd.DataFrame, np.ndarray]:
    """What is known of each image without knowing what it shows.

    Returns:
        One row per image, named by it: number of pixels, aspect ratio, brightness (0..255), the
        pattern of its file name, camera; and grey squares, shape (N, side, side), float32.
    """
    with ThreadPoolExecutor() as pool:
        squares = np.stack(list(pool.map(_square, dataset.images)))
        facts = pd.DataFrame(list(pool.map(_facts, dataset.images)), index=dataset.names)
    brightness = squares.mean(axis=(1, 2))
    patterns = [re.sub(r"\d+", "#", Path(name).name) for name in dataset.names]
    return facts.assign(**{"brightness": brightness, "file name": patterns}), squares


def _square(image: Path | np.ndarray) -> np.ndarray:
    return decode(image, SIDE).mean(axis=2, dtype=np.float32)


def _facts(image: Path | np.ndarray) -> dict[str, float | str]:
    if isinstance(image, np.ndarray):
        height, width = image.shape[:2]
        return _fact(width, height)
    with open_image(image) as opened:
        width, height = opened.size
        camera = ""
        with suppress(Exception):  # a damaged header is no reason not to look at the image
            exif = opened.getexif()
            parts = (exif.get(tag) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
            camera = " ".join(str(part).strip(" \0") for part in parts if part)
    return _fact(width, height, camera)


def _fact(width: int, height: int, camera: str = "") -> dict[str, float | str]:
    return {"number of pixels": width * height, "aspect ratio": width / height, "camera": camera}


def cues(judged: Judgements, facts: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and commonest class in groups of images that share a cue.

    Columns: cue, group, images, accuracy (per cent), commonest (class), share (of it, per cent),
    told (per cent of all images whose class is the commonest of their group). Cues by which
    images do not differ are left out. Without any cue, `told` is the share of the commonest class.
    """
    facts = facts.loc[judged.names]
    right, names = judged.of_label(judged.votes), np.array(judged.classes)
    tables = []
    for cue in facts:
        groups = _groups(facts[cue])
        if groups.nunique() < 2:
            continue
        images = pd.DataFrame({"group": groups.to_numpy(), "right": right, "label": judged.labels})
        each = images.groupby("group", observed=True)
        counts = each["label"].value_counts().unstack(fill_value=0)
        commonest = counts.max(axis=1)
        table = pd.DataFrame(
            {
                "cue": cue,
                "group": counts.index.astype(str),
                "images": each.size().to_numpy(),
                "accuracy": 100 * each["right"].mean().to_numpy(),
                "commonest": names[counts.idxmax(axis=1)],
                "share": (100 * commonest / counts.sum(axis=1)).to_numpy(),
                "told": 100 * commonest.sum() / counts.to_numpy().sum(),
            }
        )
        tables.append(table[table["images"] >= FEWEST])
    if not tables:
        return pd.DataFrame(columns=["cue", "group", "images", "accuracy", "commonest", "share"])
    return pd.concat(tables, ignore_index=True).sort_values("told", ascending=False, kind="stable")


def _groups(values: pd.Series) -> pd.Series:
    """Numbers in quarters; of words those that are on enough images, and the rest together."""
    if pd.api.types.is_numeric_dtype(values):
        if values.nunique() <= QUARTERS:
            return values.map("{:g}".format)
        return pd.qcut(values, QUARTERS, duplicates="drop").map(
            lambda part: f"{part.left:.4g} to {part.right:.4g}"
        )
    frequent = values.map(values.value_counts()) >= FEWEST
    return values.where(frequent, "others").replace("", "unknown")


def twins(dataset: Dataset, squares: np.ndarray) -> pd.DataFrame:
    """Pairs of images that look the same and have different labels, the most alike first.

    Columns: one, other (image names), one_label, other_label (class names), likeness
    (correlation of their grey pixels).
    """
    flat = squares.reshape(len(squares), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    rows: list[dict[str, str | float]] = []
    for start in range(0, len(flat), TOGETHER):
        likeness = flat[start : start + TOGETHER] @ flat.T
        for a, b in zip(*np.nonzero(likeness >= ALIKE), strict=True):
            first, other = start + int(a), int(b)
            if first < other and dataset.labels[first] != dataset.labels[other]:
                rows.append(_pair(dataset, first, other) | {"likeness": float(likeness[a, b])})
    columns = ["one", "other", "one_label", "other_label", "likeness"]
    return pd.DataFrame(rows, columns=columns).sort_values("likeness", ascending=False)


def _pair(dataset: Dataset, first: int, other: int) -> dict[str, str | float]:
    names: Sequence[str] = dataset.names
    classes, labels = dataset.classes, dataset.labels
    return {
        "one": names[first],
        "other": names[other],
        "one_label": classes[labels[first]],
        "other_label": classes[labels[other]],
    }
