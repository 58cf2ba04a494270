"""Turn layouts that a study cannot name directly into a table of paths and labels."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from effnet_core import files, paths
from effnet_core.data.layout.doubts import REMEDY, check_not_pieces, check_only_photos
from effnet_core.data.layout.folders import unwrapped
from effnet_core.data.layout.layers import check_layers, doubted_layers
from effnet_core.data.layout.part_values import DRAWN
from effnet_core.data.layout.parts import (
    FILLERS,
    may_be_a_class,
    part_of,
    parts_among,
    parts_and_rest,
)
from effnet_core.data.layout.tables import LABEL_COLUMNS, read_table
from effnet_core.data.layout.walk import can_be_written, only_readable, subfolders, walk
from effnet_core.errors import InputError
from effnet_report.escaping import label_cell, listed, path_cell
from effnet_report.intake.pictures import Apart, photos_apart
from effnet_report.words import joined

Row = tuple[str, str, str]  # path, label, part


def tabulate(name: str, images: Path, labels: Path | None) -> tuple[pd.DataFrame | None, Path, str]:
    """Make a table for the study, if its layout needs one.

    Args:
        name: name of the study, also for images unpacked from Arrow or Parquet files.
        images: a folder, or a Hugging Face data set on disk.
        labels: a CSV or Parquet file.

    Returns:
        The table (None for class folders), the folder that its paths are relative to, and a
        description of the changes.

    Raises:
        InputError: the layout is not understood, or pyarrow is needed and missing.
    """
    if labels and labels.suffix.lower() != ".parquet":
        return read_table(labels), images, ""
    if labels or (images / "dataset_info.json").is_file() or _is_dict(images):
        return _of_arrow(name, images, labels)
    root = unwrapped(images)
    remark = f"The classes are the folders in {root}. " if root != images else ""
    table, more = _of_folders(root)
    if table is not None:
        cells = {"path": table["path"].map(path_cell), "label": table["label"].map(label_cell)}
        table = table.assign(**cells)
    return table, root, f"{remark}{more}".strip()


def _of_folders(root: Path) -> tuple[pd.DataFrame | None, str]:
    """A table for a folder of parts, or of classes with parts; None for class folders."""
    names = [path.relative_to(root).as_posix() for path in only_readable(walk(root)).images]
    check_only_photos(root, names)
    holding = sorted({name.split("/")[0] for name in names if "/" in name})
    if names and not holding:
        raise InputError(
            f"{root} holds images, but nothing says which class each of them is. Give every "
            f"class a folder of its own, or a table of paths and labels: --labels FILE.csv"
        )
    parts = parts_among(holding)
    others = [name for name in holding if name not in parts]
    part = next(iter(parts), "")
    if parts and others and (len(parts) > 1 or not may_be_a_class(part) or _classes(root / part)):
        raise InputError(
            f"{root} holds parts of a data set ({', '.join(parts)}) and other folders of images "
            f"({', '.join(others)}). Move either away, or give a table: --labels FILE.csv"
        )
    if parts and not others:
        return _of_parts(root, parts)
    table = _of_parted_classes(root, holding, names)
    return table, ""


def _of_parts(root: Path, parts: dict[str, str]) -> tuple[pd.DataFrame, str]:
    """List `root/<part>/<class>/<any depth>/<image>`, without parts that have no labels."""
    rows: list[Row] = []
    remarks: list[str] = []
    unlabeled = [name for name in parts if parts[name] == "unlabeled"]
    classes = {name: _classes(root / name) for name in parts if name not in unlabeled}
    inner = [inside[1] for inside in classes.values() if inside]
    # `images` in `test/images` is a class only if a part with several classes has it too.
    among_others = {kind for kinds in inner if len(kinds) > 1 for kind in kinds}
    for name, inside in classes.items():
        if not inside or (len(inside[1]) == 1 and inside[1][0] not in among_others):
            raise InputError(
                f"{root / name} has no class folders, so its images have no labels. {REMEDY}"
            )
        rows += _rows(root, *inside, parts[name])
        if empty := [f.name for f in subfolders(inside[0]) if f.name not in inside[1]]:
            remarks.append(f"Look twice: no images are in {listed(empty)} of {name}.")
        remarks += doubted_layers(_names(inside[0]))
    remarks.append(_mixed(parts))
    remarks += [_left_out(root / name) for name in unlabeled]
    remarks.append(_without_common_classes(dict(zip(classes, inner, strict=True))))
    return pd.DataFrame(rows, columns=["path", "label", "part"]), " ".join(filter(None, remarks))


def _mixed(parts: Iterable[str]) -> str:
    """A remark about parts with different further words, such as `train` and `train_resized`."""
    by_rest: dict[frozenset[str], list[str]] = {}
    for name in parts:
        by_rest.setdefault(frozenset(parts_and_rest(name)[1] - FILLERS), []).append(name)
    if len(by_rest) < 2:
        return ""
    return (
        "Look twice: parts with different names are put together: "
        f"{'; '.join(map(listed, by_rest.values()))}. If some hold versions of the images of "
        "others, move them away."
    )


def _left_out(part: Path) -> str:
    """A sentence about a part whose name says that it has no labels, such as `unlabeled`."""
    inside = _classes(part)
    if not inside:
        return f"{part.name} has no class folders, so its images are left out."
    return (
        f"{part.name} means that its images have no labels, so they are left out. If its folders "
        f"({listed(inside[1])}) are classes, rename {part.name} to train."
    )


def _without_common_classes(classes: dict[str, list[str]]) -> str:
    """A remark about parts whose folders are called otherwise than those of all other parts."""
    strange = [
        f"{name} ({listed(kinds)})"
        for name, kinds in classes.items()
        if not any(set(kinds) & set(others) for n, others in classes.items() if n != name)
    ]
    if not strange or len(classes) < 2:
        return ""
    return (
        f"Look twice: no other part has the classes of {joined(strange)}. Each of these folders is "
        "a class of its own."
    )


def _classes(part: Path) -> tuple[Path, list[str]] | None:
    """The folder with the classes of a part, and their names; None without classes.

    An archive may wrap it, as in `training_set/training_set/cats`.
    """
    images = walk(part).images
    inside = sorted({path.relative_to(part).parts[0] for path in images})
    if not inside or any(path.parent == part for path in images):
        return None
    if len(inside) == 1:
        deeper = _classes(part / inside[0])
        wrapper = part_of(inside[0]) or inside[0] == part.name
        return deeper if deeper or wrapper else (part, inside)
    return part, inside


def _names(folder: Path) -> list[str]:
    """The paths of all images below a folder, relative to it."""
    return [path.relative_to(folder).as_posix() for path in walk(folder).images]


def _rows(root: Path, folder: Path, classes: list[str], part: str) -> Iterator[Row]:
    """The images of a part, each with its class folder."""
    names = _names(folder)
    inner = parts_among(classes)
    own = {name.rpartition("/")[0] for name in names}
    # A train that holds images may be a class beside others.
    if inner and ({*inner.values()} != {"train"} or {*inner} == {*classes} or {*inner} - own):
        raise InputError(f"{folder} holds parts inside of a part ({', '.join(inner)}). {REMEDY}")
    check_not_pieces(folder, classes, names)
    check_layers(folder, names)
    place = folder.relative_to(root).as_posix()
    for name in names:
        yield f"{place}/{name}", name.split("/")[0], part


def _of_parted_classes(root: Path, classes: list[str], names: list[str]) -> pd.DataFrame | None:
    """List `root/<class>/<part>/<image>`; None unless every class holds only parts.

    Raises:
        InputError: the parts hold folders, so the classes are unclear.
    """
    parts = {name: parts_among([path.name for path in subfolders(root / name)]) for name in classes}
    ways = [name.split("/") for name in names if "/" in name]
    if len(classes) < 2 or not all(len(way) > 2 and way[1] in parts[way[0]] for way in ways):
        return None
    deeper = next((way for way in ways if len(way) > 3), None)
    if deeper:
        raise InputError(f"{root / deeper[0]} holds parts with further folders inside. {REMEDY}")
    rows = [("/".join(way), way[0], parts[way[0]][way[1]]) for way in ways]
    return pd.DataFrame(rows, columns=["path", "label", "part"])


def _is_dict(images: Path) -> bool:
    return (images / "dataset_dict.json").is_file()


def _of_arrow(name: str, images: Path, labels: Path | None) -> tuple[pd.DataFrame, Path, str]:
    """Read a Parquet file, or a folder written by `save_to_disk` of Hugging Face's `datasets`."""
    try:
        parts, features = _parquet(labels) if labels else _saved(images)
    except ImportError:
        raise InputError(
            f"{labels or images} needs pyarrow to be read: pip install 'effnet-report[formats]'."
        ) from None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"{labels or images} cannot be read as a table of images ({type(error).__name__}: "
            f"{error}). Save it again, or give a folder of images."
        ) from None
    frames = {part: _labels_in_words(t.to_pandas(), features[part]) for part, t in parts.items()}
    apart = {part: photos_apart(labels or images, frame) for part, frame in frames.items()}
    # Other pictures get another folder, because a study of another name may use these.
    target = paths.CACHE / "unpacked" / f"{name}-{_pictures_hash(apart)}"
    named = len(parts) > 1 and parts_among([*parts])
    tables = {part: _with_paths(part, its, target) for part, its in apart.items()}
    if named:
        tables = {part: table.assign(part=part) for part, table in tables.items()}
    pooled = f"The parts {', '.join(parts)} are put together: {DRAWN}."
    remarks = [*dict.fromkeys(remark for *_, remark in apart.values())]
    remarks += [pooled] if len(parts) > 1 and not named else []
    if target.is_dir():
        remarks.insert(0, f"The pictures were unpacked to {target}.")
    together = pd.concat(tables.values(), ignore_index=True)
    together = together.astype(str).mask(together.isna(), "")
    place = target if target.is_dir() else images
    return together, place, " ".join(filter(None, remarks))


def _with_paths(part: str, apart: Apart, target: Path) -> pd.DataFrame:
    """The table of a part, with the paths of its photos after they are unpacked, if it has any."""
    if apart.photos is None:
        return apart.table
    stem = component(part) if part else ""
    unpacked = [
        _unpack(picture, target, f"{stem}-{place:06d}".lstrip(".-"))
        for place, picture in enumerate(apart.photos)
    ]
    return apart.table.assign(path=unpacked)


def _pictures_hash(apart: dict[str, Apart]) -> str:
    digest = hashlib.sha256()
    for part, (_, photos, _) in apart.items():
        for picture in () if photos is None else photos:
            data = picture.get("bytes") if isinstance(picture, dict) else None
            digest.update(f"{part}\0{len(data or b'')}\0".encode() + (data or b""))
    return digest.hexdigest()[:12]


def _parquet(labels: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """One Arrow table, and the meaning of its columns."""
    import pyarrow.parquet  # noqa: PLC0415  optional

    table = pyarrow.parquet.read_table(labels)
    names = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    return {"": table}, {"": names.get("info", {}).get("features") or {}}


def _saved(images: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The Arrow table of each part on disk, and the meaning of its columns."""
    parts = [""]
    if _is_dict(images):
        parts = sorted(json.loads((images / "dataset_dict.json").read_text())["splits"])
        parts = [component(part) for part in parts]
    tables, features = {}, {}
    for part in parts:
        tables[part] = _mapped(images / part)
        info = json.loads((images / part / "dataset_info.json").read_text())
        features[part] = info["features"] or {}
    return tables, features


def _mapped(folder: Path) -> Any:
    state = json.loads((folder / "state.json").read_text())
    if state.get("_indices_data_files"):
        raise InputError(
            f"{folder} holds a selection of rows, saved by an old version of `datasets`. Load it, "
            "call flatten_indices(), and save it again."
        )
    listed = state["_data_files"]
    files = [str(folder / component(entry["filename"])) for entry in listed]
    import pyarrow  # noqa: PLC0415  optional

    parts = [pyarrow.ipc.open_stream(pyarrow.memory_map(file)).read_all() for file in files]
    return pyarrow.concat_tables(parts)


def _labels_in_words(frame: pd.DataFrame, features: dict[str, Any]) -> pd.DataFrame:
    """Replace the numbers of classes by their names, if these are known."""
    numbered = [column for column in frame if _class_names(features, column)]
    if len(numbered) == 1 and not set(LABEL_COLUMNS) & set(frame):
        frame = frame.rename(columns={numbered[0]: LABEL_COLUMNS[0]})
        features = {LABEL_COLUMNS[0]: features[numbered[0]]}
    for column in LABEL_COLUMNS:
        names = _class_names(features, column)
        if column in frame and names:
            unlabelled = frame[column].isna() | (frame[column] < 0)
            if unlabelled.any():
                raise InputError(
                    f"{unlabelled.sum()} images have no label. Remove their rows, and save the "
                    "data set again."
                )
            if (frame[column] >= len(names)).any():
                raise InputError(f"{column} has more classes than the {len(names)} with names.")
            frame[column] = np.array(names, dtype=object)[frame[column].astype(int)]
    return frame


def _class_names(features: dict[str, Any], column: str) -> list[str]:
    """The names of the classes that the numbers of a column stand for, if it has any."""
    feature = features.get(column)
    return (feature.get("names") or []) if isinstance(feature, dict) else []


def _unpack(picture: dict[str, Any], target: Path, stem: str) -> str:
    """Write one encoded picture to a file, and return its name."""
    if not isinstance(picture, dict) or not (picture.get("bytes") or picture.get("path")):
        raise InputError(f"Row {stem} holds no picture. Remove it, and save the data set again.")
    if not picture.get("bytes"):
        return str(picture["path"])
    name = component(f"{stem}{Path(picture.get('path') or '').suffix}")
    files.write(target / name, picture["bytes"])
    return name


def component(name: Any) -> str:
    """Check that a name from the data set stays inside its folder, and return it.

    Raises:
        InputError: the name has a separator, is `..`, or has characters that a table cannot hold.
    """
    if (
        not isinstance(name, str)
        or name in ("", ".", "..")
        or not can_be_written(name)
        or not {"/", "\\"}.isdisjoint(name)
    ):
        raise InputError(f"The data set has the name {name!r}, which is not that of a single file.")
    return name
