"""Repeat finished runs and compare: does what was recorded come out again?"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from effnet_core import classical, files, paths, run
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import load_design
from effnet_core.study.provenance import hardware, versions
from effnet_core.study.records import AnyRecord, ClassicalRecord, Record
from effnet_core.training.winner import winner
from effnet_report.evidence import loader
from effnet_report.evidence.comparison import accuracy_interval

TOLERANCE = (
    "the repeated test accuracy lies in the 95 % Wilson interval of the recorded one; allowed "
    "only where code, versions or machine differ, which may change the last bits of arithmetic"
)


@dataclass(frozen=True)
class Comparison:
    """A record beside what came out when its run was repeated.

    Attributes:
        origin: what was not the same before the run began, as `name: recorded -> here`.
    """

    run_id: str
    origin: list[str]
    agreement: Literal["equal", "within tolerance", "different"]
    accuracy: tuple[float, float]


def verify(
    study: str, run_id: str | None, sample: int | None, report: Callable[[Comparison], None]
) -> list[Comparison]:
    """Repeat runs of a study, and leave what came out beside its records.

    Args:
        study: a folder of records, such as `quick` or `published/quick`.
        run_id: repeat this one alone.
        sample: repeat so many, drawn by chance; all if neither is given.
        report: called after each run.

    Raises:
        InputError: no such study or run, a damaged record, or its data are not here.
    """
    compared: list[Comparison] = []
    chosen, best = _chosen(study, run_id, sample), winner(study)
    for record in chosen:
        compared.append(compare(record, _repeat(study, record, best)))
        _write(study, compared)  # at once: repetitions take hours, and may be interrupted
        report(compared[-1])
    return compared


def _write(study: str, compared: list[Comparison]) -> None:
    runs = {
        kind: [c.run_id for c in compared if c.agreement == kind]
        for kind in ("equal", "within tolerance", "different")
    }
    content = {
        "verified": [c.run_id for c in compared],
        "equal": len(runs["equal"]),
        "within_tolerance": runs["within tolerance"],
        "different": runs["different"],
        "origin": {c.run_id: c.origin for c in compared if c.origin},
        "tolerance": TOLERANCE,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": hardware(),
        "versions": versions(),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    files.write(paths.verification(study), text.encode())


def _repeat(study: str, record: AnyRecord, best: Record | None) -> AnyRecord:
    """Train again; of the study's best run the weights are kept, if it comes out as recorded."""
    # Computed, not read: what is kept on disk is part of what is in question.
    settings = record.settings.model_copy(update={"cache_gb": 0.0})
    if settings.data_dir or settings.labels:  # a record does not tell where they lie
        here = load_design(study).protocol.model_dump(include={"data_dir", "labels"})
        settings = settings.model_copy(update=here)
    if isinstance(record, ClassicalRecord):
        return classical.repeat(settings, record.kind)
    wins = best is not None and record.run_id == best.run_id
    repeated, _ = run.repeat(settings, keep_for=study if wins else None)
    return repeated


def _chosen(study: str, run_id: str | None, sample: int | None) -> list[AnyRecord]:
    folders = [path.parent for path in paths.RESULTS.glob("**/*-seed*.json")]
    known = sorted({folder.relative_to(paths.RESULTS).as_posix() for folder in folders})
    if study not in known:
        raise InputError(f"No records of {study!r}. There are records of: {', '.join(known)}.")
    loaded = loader.load(study)
    loaded.check_agreement()
    if loaded.damaged:
        raise InputError(next(iter(loaded.damaged.values())))
    by_id = loaded.believed
    found = list(by_id.values())
    if run_id is not None:
        if run_id not in by_id:
            raise InputError(f"{study} has no run {run_id!r}: {', '.join(by_id)}.")
        return [by_id[run_id]]
    return found if sample is None else random.sample(found, min(sample, len(found)))


def compare(recorded: AnyRecord, repeated: AnyRecord) -> Comparison:
    """How a repeated run agrees with its record."""
    origin = _different(recorded.fingerprints.model_dump(), repeated.fingerprints.model_dump())
    experiment = {line.split(":")[0] for line in origin} & {"data", "split", "weights"}
    origin += _different(recorded.made.versions, repeated.made.versions)
    origin += _different(
        {"processor": recorded.made.hardware.get("processor", "unknown")},
        {"processor": repeated.made.hardware["processor"]},
    )
    test = recorded.outcome.test
    again = repeated.outcome.test.accuracy
    low, high = accuracy_interval(test.accuracy, test.images)
    agreement: Literal["equal", "within tolerance", "different"] = "different"
    if records.came_out(recorded) == records.came_out(repeated):
        agreement = "equal"
    elif origin and not experiment and low <= again <= high:
        agreement = "within tolerance"
    return Comparison(recorded.run_id, origin, agreement, (test.accuracy, again))


def _different(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    return [
        f"{name}: {recorded.get(name, 'unknown')[:40]} -> {here[name][:40]}"
        for name in here
        if recorded.get(name) != here[name]
    ]
