"""The record of a run: one JSON file, written once, with the predictions beside it as CSV.

The whole book can be built from records alone. A record holds checksums of itself and of its
predictions, and is never edited.
"""

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from effnet_core import files, paths
from effnet_core.errors import InputError, cannot
from effnet_core.study.design import INCIDENTAL, Settings
from effnet_core.study.schema import (
    AnyRecord,
    ClassicalRecord,
    Record,
)

if TYPE_CHECKING:  # importing pandas is a third of the start of a command
    import pandas as pd

PREDICTION_COLUMNS = ["part", "image", "label", "predicted", "confidence"]
LABEL_PROBABILITY = "label_probability"  # the last column; older files lack it


def record_path(study: str, run_id: str) -> Path:
    return paths.records(study) / f"{run_id}.json"


def baseline_id(seed: int) -> str:
    return f"baseline-seed{seed}"


def classical_id(seed: int) -> str:
    return f"classical-seed{seed}"


def lock_path(study: str, run_id: str) -> Path:
    """The file whose lock is held while a run is trained."""
    return paths.records(study) / ".locks" / f"{run_id}.lock"


class TakenError(InputError):
    """A run is being trained by another process."""


def claim(study: str, run_id: str) -> FileLock:
    """Take the lock of a run; the operating system releases it when the process ends.

    Raises:
        TakenError: another process holds the lock.
        InputError: the folder cannot be written, or the disk is full.
    """
    path = lock_path(study, run_id)
    lock = FileLock(path)
    files.check_writable(paths.records(study))
    try:
        path.parent.mkdir(exist_ok=True)
        lock.acquire(timeout=1)  # `effnet status` holds it for a moment to test it
    except Timeout:
        raise TakenError(f"Run {run_id} of {study} is being trained by another process.") from None
    except OSError as error:
        raise cannot(f"write {path.parent}", error) from None
    return lock


def predictions_path(record: Path) -> Path:
    return record.with_suffix(".predictions.csv")


def predictions_csv(predictions: "pd.DataFrame") -> bytes:
    """The bytes of a predictions file, equal for equal predictions.

    Numbers have four significant digits. The probability of the label is empty for right
    predictions, because it equals the confidence. Tables without this column are written in the
    form of older records.
    """
    if LABEL_PROBABILITY not in predictions:
        table, digits = predictions[PREDICTION_COLUMNS], "%.6f"
    else:
        table, digits = predictions[[*PREDICTION_COLUMNS, LABEL_PROBABILITY]].copy(), "%.4g"
        table.loc[table["label"] == table["predicted"], LABEL_PROBABILITY] = None
    return table.to_csv(index=False, float_format=digits, lineterminator="\n").encode()


def like_recorded(predictions: "pd.DataFrame", study: str, run_id: str) -> "pd.DataFrame":
    """Reduce predictions to the columns of the run's existing file, if there is one.

    This allows comparisons with older records, which lack the probability of the label.
    """
    older = (",".join(PREDICTION_COLUMNS) + "\n").encode()
    with suppress(OSError), predictions_path(record_path(study, run_id)).open("rb") as file:
        if file.readline() == older:
            return predictions[PREDICTION_COLUMNS]
    return predictions


def save(record: AnyRecord, predictions: bytes) -> Path:
    """Write the predictions, then the record, both crash-safe.

    A record is written once. If the run already has a record, the new one is compared with it and
    not written. A damaged record is set aside.

    Raises:
        InputError: the folder cannot be written, or the existing record differs. Then the new one
            is written beside it with the ending `.differs`.
        ValueError: the predictions do not have the checksum in the record.
    """
    if hashlib.sha256(predictions).hexdigest() != record.predictions:
        raise ValueError("The predictions do not have the checksum in the record.")
    path = record_path(record.settings.study, record.run_id)
    existing = recorded_run(record.settings, record.run_id)
    if existing and came_out_equal(existing, record):
        return path
    if path.exists() and not existing:
        set_aside(path)
    new, beside = _aside(path, "differs") if existing else (path, predictions_path(path))
    files.write(beside, predictions)
    files.write(new, text(record))
    if existing:
        if isinstance(record, Record):  # its checkpoint leads to the same difference again
            drop_checkpoints(record.settings)
        raise InputError(
            f"This run differs from its record {path}, which was not changed. The new record is "
            f"{new}. {why_different(record.settings.study, record.run_id)}"
        )
    failure_path(record.settings.study, record.run_id).unlink(missing_ok=True)
    return path


def why_different(study: str, run_id: str) -> str:
    """How to find out why a repeated run differs from its record.

    A verification repeats the run with an empty cache.
    """
    return (
        f"`effnet verify {study} --run {run_id}` says what has changed since. If it finds the run "
        "equal to the bit, files of the cache are wrong: delete them with `effnet cache --clear`."
    )


def text(record: AnyRecord) -> bytes:
    """The bytes of a record file."""
    content = record.model_dump(mode="json")
    content["checksum"] = checksum(content)
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def reproducible_part(record: AnyRecord) -> dict[str, Any]:
    """The part of a record that is equal for equal runs: no origin, and no times."""
    untimed = {"outcome": {"candidates": {"__all__": {"seconds"}}}}
    return record.model_dump(include={"facts", "outcome", "predictions"}, exclude=untimed)


def came_out_equal(recorded: AnyRecord, repeated: AnyRecord) -> bool:
    """Whether a repeated run has the outcome of its record.

    Older records of classical models name the best of all models only.
    """
    parts = [reproducible_part(record) for record in (recorded, repeated)]
    if parts[0]["outcome"].get("on_other_features", ...) is None:
        parts[1]["outcome"]["on_other_features"] = None
    return parts[0] == parts[1]


def recorded_run(settings: Settings, run_id: str) -> AnyRecord | None:
    """The valid existing record of a run with these settings, or None.

    Raises:
        InputError: there is a record that was made with other settings.
    """
    path = record_path(settings.study, run_id)
    try:
        existing = load(path)
    except InputError:
        return None
    if changed := differences(existing.settings, settings):
        raise InputError(
            f"{path} was made with other settings: {', '.join(changed)}. A record is never "
            "overwritten: give the study another name, or move its results away."
        )
    return existing


def differences(recorded: Settings, wanted: Settings) -> list[str]:
    """Settings that decide an outcome and differ, as `name was -> is`."""
    was, now = (s.model_dump(exclude=INCIDENTAL) for s in (recorded, wanted))
    return [f"{name} {was[name]} -> {now[name]}" for name in now if was[name] != now[name]]


def set_aside(path: Path) -> Path:
    """Rename a damaged record and its predictions, so that they are kept but not counted.

    Raises:
        InputError: one of them cannot be read, which does not mean that it is damaged.
    """
    for file in (path, predictions_path(path)):
        try:
            if file.is_file():
                file.read_bytes()
        except OSError as error:
            raise cannot(f"read {file}", error) from None
    record, predictions = _aside(path, "damaged")
    if predictions_path(path).is_file():
        predictions_path(path).rename(predictions)
    return path.rename(record)


def _aside(path: Path, why: str) -> tuple[Path, Path]:
    """Unused names for a record that is not counted and its predictions, with an equal ending."""
    for number in count(1):
        ending = f".{why}" if number == 1 else f".{why}{number}"
        names = [f.with_name(f"{f.name}{ending}") for f in (path, predictions_path(path))]
        if not any(os.path.lexists(name) for name in names):
            return names[0], names[1]
    raise AssertionError  # count has no end


def checksum(content: dict[str, Any]) -> str:
    """sha256 over the content of a record in canonical JSON, without the checksum itself."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def stated_checksum(path: Path) -> str:
    """The checksum in a record file, which `load` has checked."""
    return json.loads(path.read_text(encoding="utf-8"))["checksum"]


def drop_checkpoints(settings: Settings) -> None:
    """Delete the checkpoint of a recorded run, and its first epoch if no run needs it."""
    study = settings.study
    unneeded = [paths.checkpoint(study, settings.run_id)]
    if all(record_path(study, run.run_id).is_file() for run in settings.schedules):
        unneeded.append(first_epoch(settings))
    for path in unneeded:
        with suppress(OSError):
            path.unlink()


def first_epoch(settings: Settings) -> Path:
    """Checkpoint shared by runs that differ only in their schedule, named after the first one."""
    return paths.first_epoch(settings.study, settings.schedules[0].run_id)


def load(path: Path) -> AnyRecord:
    """Read and check one record; raises as `load_whole` does."""
    return load_whole(path)[0]


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; readers of a repeated name disagree about which value counts."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a name is repeated")
    return content


def load_whole(path: Path) -> tuple[AnyRecord, bytes]:
    """Read and check one record and its predictions file.

    Raises:
        InputError: the record is missing, incomplete, edited or of another schema, or its
            predictions are missing or changed.
    """
    remedy = "Delete it and repeat the run, or restore it from git."
    if not path.is_file():
        raise InputError(f"{path} is damaged: it is not a file. {remedy}")
    try:
        written = path.read_text(encoding="utf-8")
        content = json.loads(written, object_pairs_hook=_each_once)
        if re.search(r"\\u[dD]", written):  # may be half a character, which nothing can print
            json.dumps(content, ensure_ascii=False).encode()
        stated = content.pop("checksum", None)
        whole = stated == checksum(content)
        # Older records lack this setting.
        content["settings"].setdefault("instructions", "native")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Make it readable.") from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise InputError(f"{path} is damaged: it is not a complete JSON record. {remedy}") from None
    if not whole:
        raise InputError(f"{path} was changed after it was written: checksum differs. {remedy}")
    try:
        kind = Record if content.get("kind") == "fine-tuned" else ClassicalRecord
        record: AnyRecord = kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "run_id"
        raise InputError(f"{path} is not a valid record: {where}: {first['msg']}.") from None
    if path.stem != record.run_id:
        raise InputError(f"{path} is a copy of the record of {record.run_id}. Remove the copy.")
    return record, _checked_predictions(path, record.predictions)


def load_predictions(path: Path) -> "pd.DataFrame":
    """The predictions beside the record at `path`, checked against it.

    Returns:
        One row per image with the columns part (validation or test), image (name), label and
        predicted (class indices), confidence (probability of the predicted class, 0..1), and
        label_probability (probability of the label), which older records lack.
    """
    import pandas as pd  # noqa: PLC0415

    stated = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    # Names of images such as `0000` and `NA` stay text.
    data = io.BytesIO(_checked_predictions(path, stated))
    table = pd.read_csv(
        data,
        dtype={"part": str, "image": str},
        keep_default_na=False,
        na_values={LABEL_PROBABILITY: ""},
    )
    if LABEL_PROBABILITY in table:
        table[LABEL_PROBABILITY] = table[LABEL_PROBABILITY].fillna(table["confidence"])
    return table


def _checked_predictions(path: Path, stated: str) -> bytes:
    beside = predictions_path(path)
    try:
        data = beside.read_bytes() if beside.is_file() else b""
    except OSError as error:
        raise InputError(f"{beside} cannot be read: {error.strerror}. Make it readable.") from None
    if hashlib.sha256(data).hexdigest() != stated:
        raise InputError(
            f"{beside} is missing or was changed after {path.name} was written. "
            "Delete both and repeat the run, or restore them from git."
        )
    return data


def record_files(study: str) -> Iterator[Path]:
    """The files of a study with names of records."""
    for path in sorted(paths.records(study).glob("*-seed*.json")):
        if not path.name.startswith(".") and not path.stem.endswith(".failed"):
            yield path


def failure_path(study: str, run_id: str) -> Path:
    """Path of the note that a run failed; a later success deletes it."""
    return paths.records(study) / f"{run_id}.failed.json"
