"""Layouts that a study cannot name directly, turned into a table of paths and labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from effnet_core import files, paths
from effnet_core.data.folders import LABEL_COLUMNS, PARTS, TESTS
from effnet_core.data.formats import is_image
from effnet_core.errors import InputError


def tabulate(name: str, images: Path, labels: Path | None) -> tuple[pd.DataFrame | None, Path, str]:
    """A table for the study, where one is needed.

    Args:
        name: of the study; pictures inside Arrow or Parquet files are unpacked under it.
        images: the folder that was given, or a Hugging Face data set on disk.
        labels: a CSV or Parquet file that was given.

    Returns:
        The table (None: class folders), the folder that its paths are relative to, and what was
        done.

    Raises:
        InputError: nothing in it can be understood, or pyarrow is needed and missing.
    """
    if labels and labels.suffix.lower() != ".parquet":
        return _read(labels), images, ""
    if labels or (images / "dataset_info.json").is_file() or _is_dict(images):
        return _of_arrow(name, images, labels)
    parts = sorted(p for p in images.iterdir() if p.is_dir() and p.name.lower() in PARTS)
    others = [p for p in images.iterdir() if p.is_dir() and p not in parts and p.name[0] != "."]
    if not parts or others:
        return None, images, ""
    return _of_parts(images, parts), images, _pooled([part.name for part in parts])


def _pooled(parts: list[str]) -> str:
    """What becomes of parts, where none of them is a test set: it is said with the images."""
    if len(parts) < 2 or any(part.lower() in TESTS for part in parts):
        return ""
    return (
        f"The parts {', '.join(parts)} are put together: every seed of a study draws its own "
        "training, validation and test images."
    )


def _read(labels: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(labels, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{labels} cannot be read as a CSV table: {error}") from None


def _of_parts(images: Path, parts: list[Path]) -> pd.DataFrame:
    """`images/<part>/<class>/<any depth>/<image>`."""
    rows = []
    for part in parts:
        classes = sorted(path for path in part.iterdir() if path.is_dir())
        if not classes:
            raise InputError(
                f"{part} has no class folders, so its images have no labels. "
                f"Move it away, or give a table: --labels FILE.csv"
            )
        rows += [
            (file.relative_to(images).as_posix(), folder.name, part.name)
            for folder in classes
            for file in sorted(folder.rglob("*"))
            if file.is_file() and not file.name.startswith(".") and is_image(file)
        ]
    return pd.DataFrame(rows, columns=["path", "label", "part"])


def _is_dict(images: Path) -> bool:
    return (images / "dataset_dict.json").is_file()


def _of_arrow(name: str, images: Path, labels: Path | None) -> tuple[pd.DataFrame, Path, str]:
    """A Parquet file, or what `save_to_disk` of Hugging Face's `datasets` left."""
    try:
        import pyarrow.parquet  # noqa: PLC0415  optional
    except ImportError:
        raise InputError(
            f"{labels or images} needs pyarrow to be read: pip install 'effnet-report[formats]'."
        ) from None
    if labels:
        found = {".": pyarrow.parquet.read_table(labels)}
        names = json.loads((found["."].schema.metadata or {}).get(b"huggingface", b"{}"))
        features = {".": names.get("info", {}).get("features", {})}
    else:
        whole = images / "dataset_dict.json"
        parts = sorted(json.loads(whole.read_text())["splits"]) if _is_dict(images) else ["."]
        found = {part: _mapped(images / part) for part in parts}
        features = {
            part: json.loads((images / part / "dataset_info.json").read_text())["features"]
            for part in parts
        }
    target = paths.CACHE / "datasets" / name
    tables, unpacked = [], False
    for part, table in found.items():
        frame = _labels_in_words(table.to_pandas(), features[part])
        column = next((c for c in frame if isinstance(frame[c].iloc[0], dict)), None)
        if column:
            frame["path"] = [
                _unpack(picture, target, f"{part}-{place:06d}".lstrip(".-"))
                for place, picture in enumerate(frame.pop(column))
            ]
            unpacked = True
        tables.append(frame.assign(part=part) if len(found) > 1 else frame)
    told = _pooled(list(found))
    if unpacked:
        told = f"The pictures were unpacked to {target}. {told}".strip()
    return pd.concat(tables, ignore_index=True).astype(str), target if unpacked else images, told


def _mapped(folder: Path) -> Any:
    import pyarrow  # noqa: PLC0415  optional

    listed = json.loads((folder / "state.json").read_text())["_data_files"]
    parts = [
        pyarrow.ipc.open_stream(pyarrow.memory_map(str(folder / entry["filename"]))).read_all()
        for entry in listed
    ]
    return pyarrow.concat_tables(parts)


def _labels_in_words(frame: pd.DataFrame, features: dict[str, Any]) -> pd.DataFrame:
    """With the names of the classes instead of their numbers, where they are known."""
    for column in LABEL_COLUMNS:
        names = features.get(column, {}).get("names")
        if column in frame and names:
            if (frame[column] < 0).any():
                raise InputError(f"{int((frame[column] < 0).sum())} images have no label (-1).")
            frame[column] = np.array(names, dtype=object)[frame[column]]
    return frame


def _unpack(picture: dict[str, Any], target: Path, stem: str) -> str:
    """Write one picture, as it was encoded, and give its name."""
    if not picture.get("bytes"):
        return str(picture["path"])
    name = f"{stem}{Path(picture.get('path') or '').suffix}"
    if not (target / name).is_file():
        files.write(target / name, picture["bytes"])
    return name
