"""The record of a run: one JSON file, written once, with the predictions beside it as CSV.

With the records alone the whole book can be built. A record is a closed statement: it
carries a checksum of itself and of its predictions, and nothing ever edits it.
"""

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import suppress
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

if TYPE_CHECKING:  # a third of the time that a command needs to start
    import pandas as pd

PREDICTION_COLUMNS = ["part", "image", "label", "predicted", "confidence"]
LABEL_PROBABILITY = "label_probability"  # the last column; files of older records end before it


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
        TakenError: another process has it.
        InputError: the folder cannot be written, or the disk is full.
    """
    path = lock_path(study, run_id)
    lock = FileLock(path)
    files.check_writable(paths.records(study))
    try:
        path.parent.mkdir(exist_ok=True)
        lock.acquire(timeout=1)  # `effnet status` takes it for an instant to see whether it is free
    except Timeout:
        raise TakenError(f"Run {run_id} of {study} is being trained by another process.") from None
    except OSError as error:
        raise cannot(f"write {path.parent}", error) from None
    return lock


def predictions_path(record: Path) -> Path:
    return record.with_suffix(".predictions.csv")


def predictions_csv(predictions: "pd.DataFrame") -> bytes:
    """The predictions file, byte for byte the same for the same predictions.

    With the probability of the label, numbers have four significant digits, and that of a right
    prediction is left out: it is the confidence. Without it, the form is that of older records.
    """
    if LABEL_PROBABILITY not in predictions:
        table, digits = predictions[PREDICTION_COLUMNS], "%.6f"
    else:
        table, digits = predictions[[*PREDICTION_COLUMNS, LABEL_PROBABILITY]].copy(), "%.4g"
        table.loc[table["label"] == table["predicted"], LABEL_PROBABILITY] = None
    return table.to_csv(index=False, float_format=digits, lineterminator="\n").encode()


def like_recorded(predictions: "pd.DataFrame", study: str, run_id: str) -> "pd.DataFrame":
    """The columns of predictions that the run's file has, if there is one; else all.

    So a run can be compared with its record of before the probability of the label was kept.
    """
    older = (",".join(PREDICTION_COLUMNS) + "\n").encode()
    with suppress(OSError), predictions_path(record_path(study, run_id)).open("rb") as file:
        if file.readline() == older:
            return predictions[PREDICTION_COLUMNS]
    return predictions


def save(record: AnyRecord, predictions: bytes) -> Path:
    """Write predictions, then the record, each under its name only when it is whole.

    A record is written once. If the run's record is there already, this one is compared with it
    and not written; a damaged one is set aside.

    Raises:
        InputError: the folder cannot be written; or the record that is there says something
            else: both are kept, this one with `.differs` at the end of its name.
        ValueError: the record does not name these predictions.
    """
    if hashlib.sha256(predictions).hexdigest() != record.predictions:
        raise ValueError("The record names other predictions than the ones given.")
    path = record_path(record.settings.study, record.run_id)
    there = recorded_run(record.settings, record.run_id)
    if there and reproducible_part(there) == reproducible_part(record):
        return path
    kept = path.with_name(f"{path.name}.differs") if there else path
    beside = predictions_path(path)
    if path.exists() and not there:
        set_aside(path)
    files.write(beside.with_name(f"{beside.name}.differs") if there else beside, predictions)
    files.write(kept, text(record))
    if there:
        raise InputError(
            f"This run came out different from its record {path}, which stays as it is; what "
            f"came out now is {kept}. `effnet verify` says what had changed in between."
        )
    failure_path(record.settings.study, record.run_id).unlink(missing_ok=True)
    return path


def text(record: AnyRecord) -> bytes:
    """What is written of a record."""
    content = record.model_dump(mode="json")
    content["checksum"] = checksum(content)
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def reproducible_part(record: AnyRecord) -> dict[str, Any]:
    """What equal runs have in common: all but origin, and how long a candidate took."""
    untimed = {"outcome": {"candidates": {"__all__": {"seconds"}}}}
    return record.model_dump(include={"facts", "outcome", "predictions"}, exclude=untimed)


def recorded_run(settings: Settings, run_id: str) -> AnyRecord | None:
    """The sound record that is there of a run with these settings, if there is one.

    Raises:
        InputError: there is one, made with other settings.
    """
    path = record_path(settings.study, run_id)
    try:
        there = load(path)
    except InputError:
        return None
    if changed := differences(there.settings, settings):
        raise InputError(
            f"{path} was made with other settings: {', '.join(changed)}. A record is never "
            "overwritten: give the study another name, or move its results away."
        )
    return there


def differences(recorded: Settings, wanted: Settings) -> list[str]:
    """Settings that decide an outcome and are not the same, as `name was -> is`."""
    was, now = (s.model_dump(exclude=INCIDENTAL) for s in (recorded, wanted))
    return [f"{name} {was[name]} -> {now[name]}" for name in now if was[name] != now[name]]


def set_aside(path: Path) -> Path:
    """Rename a damaged record and its predictions, so that they are neither counted nor lost."""
    beside = predictions_path(path)
    if beside.is_file():
        beside.rename(beside.with_name(f"{beside.name}.damaged"))
    return path.rename(path.with_name(f"{path.name}.damaged"))


def checksum(content: dict[str, Any]) -> str:
    """sha256 over the record's content in canonical JSON, the checksum itself aside."""
    rest = {name: value for name, value in content.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def stated_checksum(path: Path) -> str:
    """The checksum that a record states of itself; `load` has found it right."""
    return json.loads(path.read_text(encoding="utf-8"))["checksum"]


def drop_checkpoints(settings: Settings) -> None:
    """Delete what a recorded run went on from, and its first epoch when nobody waits for it."""
    study = settings.study
    unneeded = [paths.checkpoint(study, settings.run_id)]
    if all(record_path(study, run.run_id).is_file() for run in settings.schedules):
        unneeded.append(first_epoch(settings))
    for path in unneeded:
        with suppress(OSError):
            path.unlink()


def first_epoch(settings: Settings) -> Path:
    """What runs that differ only in their schedule go on from, named after the first of them."""
    return paths.first_epoch(settings.study, settings.schedules[0].run_id)


def load(path: Path) -> AnyRecord:
    """Read and check one record; errors as in `load_whole`."""
    return load_whole(path)[0]


def load_whole(path: Path) -> tuple[AnyRecord, bytes]:
    """Read and check one record and its predictions file.

    Raises:
        InputError: no file, half-written, edited by hand, of another schema, or its predictions
            are missing or changed.
    """
    remedy = "Delete it and repeat the run, or restore it from git."
    if not path.is_file():
        raise InputError(f"{path} is damaged: it is not a file. {remedy}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stated = content.pop("checksum", None)
        whole = stated == checksum(content)
        # Records of before there was a choice.
        content["settings"].setdefault("instructions", "native")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Make it readable.") from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise InputError(f"{path} is damaged: it is not a whole JSON record. {remedy}") from None
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
        raise InputError(f"{path} holds the record of {record.run_id}: a copy would count twice.")
    return record, _checked_predictions(path, record.predictions)


def load_predictions(path: Path) -> "pd.DataFrame":
    """The predictions beside the record at `path`, checked against it.

    Returns:
        One row an image: part (validation or test), image (name), label, predicted (class
        indices), confidence (probability given to the predicted class, 0..1), and, but for
        older records, label_probability (given to the label).
    """
    import pandas as pd  # noqa: PLC0415

    stated = json.loads(path.read_text(encoding="utf-8"))["predictions"]
    # An image may be called `0000` or `NA`.
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
    data = beside.read_bytes() if beside.is_file() else b""
    if hashlib.sha256(data).hexdigest() != stated:
        raise InputError(
            f"{beside} is missing or was changed after {path.name} was written. "
            "Delete both and repeat the run, or restore them from git."
        )
    return data


def record_files(study: str) -> Iterator[Path]:
    """The files of a study that are named as records are."""
    for path in sorted(paths.records(study).glob("*-seed*.json")):
        if not path.name.startswith(".") and not path.stem.endswith(".failed"):
            yield path


def failure_path(study: str, run_id: str) -> Path:
    """A note that the run failed; its success removes it."""
    return paths.records(study) / f"{run_id}.failed.json"
