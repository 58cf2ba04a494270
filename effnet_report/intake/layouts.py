"""Layouts that a study cannot name directly, turned into a table of paths and labels."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from effnet_core import files, paths
from effnet_core.data.folders import IGNORED_NAMES, LABEL_COLUMNS, PART, TESTS
from effnet_core.data.formats import is_image
from effnet_core.errors import InputError

SEPARATORS = ";\t|"  # of tables that are called CSV all the same


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
    images, told = _unwrapped(images)
    folders = _folders(images)
    if not folders and _holds_images(images):
        raise InputError(
            f"{images} holds images, but nothing says which class each of them is. Give every "
            "class a folder of its own, or a table of paths and labels: --labels FILE.csv"
        )
    parts = [folder for folder in folders if _part(folder)]
    others = [path.name for path in folders if path not in parts and _holds_images(path)]
    if len(parts) > 1 and others:
        raise InputError(
            f"{images} holds parts of a data set ({', '.join(path.name for path in parts)}) and "
            f"other folders of images ({', '.join(others)}). Move either away, or give a table: "
            "--labels FILE.csv"
        )
    if parts and not others:
        return _of_parts(images, parts), images, f"{told}{_pooled([p.name for p in parts])}"
    if len(folders) > 1 and all(_is_parted(folder) for folder in folders):
        inside = sorted({part.name for folder in folders for part in _folders(folder)})
        return _of_parted_classes(images, folders), images, f"{told}{_pooled(inside)}"
    return None, images, f"{told}{_doubted(folders)}"


def _folders(place: Path) -> list[Path]:
    """Those that a person put there: not what archives and file managers leave."""
    found = (path for path in place.iterdir() if path.is_dir())
    return sorted(p for p in found if p.name[0] != "." and p.name != "__MACOSX")


def _files(place: Path) -> list[Path]:
    found = (path for path in place.rglob("*") if path.is_file())
    return sorted(p for p in found if p.name[0] != "." and p.name.lower() not in IGNORED_NAMES)


def _holds_images(place: Path) -> bool:
    return any(is_image(path) for path in _files(place))


def _part(folder: Path) -> str:
    """The part of a data set that a folder's name says it is, or nothing."""
    found = PART.fullmatch(folder.name)
    return found[1].lower() if found else ""


def _unwrapped(images: Path) -> tuple[Path, str]:
    """The folder with the classes: what an archive unpacks to often holds nothing else."""
    inner = _folders(images)
    if len(inner) == 1 and len(_folders(inner[0])) > 1 and not any(map(is_image, _beside(images))):
        return inner[0], f"The classes are the folders in {inner[0]}. "
    return images, ""


def _beside(place: Path) -> list[Path]:
    return [path for path in _files(place) if path.parent == place]


def _is_parted(folder: Path) -> bool:
    """Whether a class holds parts, as in `cat/train`, and nothing else."""
    inside = _folders(folder)
    return bool(inside) and all(map(_part, inside)) and not _beside(folder)


def _doubted(folders: list[Path]) -> str:
    """What is odd of class folders that all hold the same folders."""
    inside = [{path.name for path in _folders(folder)} for folder in folders]
    same = set.intersection(*inside) if len(inside) > 1 else set()
    if len(same) < 2 or any(names != same for names in inside):
        return ""
    return (
        f"Look twice: each of the classes {', '.join(folder.name for folder in folders)} holds the "
        f"same folders, {', '.join(sorted(same))}. If those are the classes, move them together, "
        "or give a table: --labels FILE.csv"
    )


def _pooled(parts: list[str]) -> str:
    """What becomes of parts, where none of them is a test set: it is said with the images."""
    if len(parts) < 2 or any(_part(Path(part)) in TESTS for part in parts):
        return ""
    return (
        f"The parts {', '.join(parts)} are put together: every seed of a study draws its own "
        "training, validation and test images."
    )


def _read(labels: Path) -> pd.DataFrame:
    """A table of text; its columns may be parted by semicolons, as spreadsheets like to do."""
    try:
        table = pd.read_csv(labels, dtype=str, keep_default_na=False)
        for separator in SEPARATORS:
            if len(table.columns) == 1 and separator in table.columns[0]:
                table = pd.read_csv(labels, dtype=str, keep_default_na=False, sep=separator)
    except (OSError, ValueError) as error:
        raise InputError(f"{labels} cannot be read as a CSV table: {error}") from None
    return table


def _of_parts(images: Path, parts: list[Path]) -> pd.DataFrame:
    """`images/<part>/<class>/<any depth>/<image>`."""
    rows = []
    for part in parts:
        classes = _folders(part)
        if not classes:
            raise InputError(
                f"{part} has no class folders, so its images have no labels. "
                f"Move it away, or give a table: --labels FILE.csv"
            )
        rows += [row for folder in classes for row in _rows(images, folder, folder, part)]
    return pd.DataFrame(rows, columns=["path", "label", "part"])


def _of_parted_classes(images: Path, folders: list[Path]) -> pd.DataFrame:
    """`images/<class>/<part>/<any depth>/<image>`."""
    rows = [
        row
        for folder in folders
        for part in _folders(folder)
        for row in _rows(images, part, folder, part)
    ]
    return pd.DataFrame(rows, columns=["path", "label", "part"])


def _rows(images: Path, inside: Path, kind: Path, part: Path) -> list[tuple[str, str, str]]:
    return [
        (file.relative_to(images).as_posix(), kind.name, _part(part))
        for file in _files(inside)
        if is_image(file)
    ]


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
    numbered = [column for column in frame if features.get(column, {}).get("names")]
    if len(numbered) == 1 and not set(LABEL_COLUMNS) & set(frame):
        frame = frame.rename(columns={numbered[0]: LABEL_COLUMNS[0]})
        features = {LABEL_COLUMNS[0]: features[numbered[0]]}
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
