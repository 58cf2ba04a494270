"""Trained weights of a study's best run; train them again if missing, delete all others."""

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from effnet_core import paths
from effnet_core import weights as files_of_weights
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.schema import Record
from effnet_report.evidence import choice, loader
from effnet_report.numbers import duration

# Disk space for the weights of a study during its sweep, bytes; one file stays at the end.
BUDGET = 2e9


def path_of(record: Record) -> Path:
    return paths.weights(record.settings.study, record.run_id)


def best(study: str, tell: Callable[[str], None]) -> Record | None:
    """The record of a study's best run, after making sure that its weights exist.

    Args:
        study: a folder of records, such as `quick` or `published/quick`.
        tell: called before the run is trained again for its missing weights.

    Raises:
        InputError: the study does not exist, the weights file belongs to another record, or the
            run cannot be repeated here with the recorded result.
    """
    record = choice.of_study(study)
    if record is None:
        return None
    if not path_of(record).is_file():
        tell(
            f"The weights of {record.run_id}, the best run of {study}, are missing: training it "
            f"again takes about {duration(record.made.seconds['total'])}."
        )
        _train_again(study, record)
    files_of_weights.check(path_of(record), record)
    return record


def _train_again(study: str, record: Record) -> None:
    from effnet_core import run  # noqa: PLC0415  torch

    this = run.begin_again(loader.located(record.settings, study))
    data, model, fitted, evaluations = run.steps(this)
    repeated, _ = run.result(this, data, model, fitted, evaluations, reference=study)
    if records.reproducible_part(repeated) != records.reproducible_part(record):
        raise InputError(
            f"The weights of {record.run_id} of {study} are missing, and training it again gave "
            f"another result. {records.why_different(study, record.run_id)}"
        )
    files_of_weights.save(record, model.backbone)


def keep_best(study: str) -> None:
    """Delete the weights of all runs of a study except the best run."""
    record = choice.of_study(study)
    for path in _all(study):
        if record is None or path.name != path_of(record).name:
            path.unlink(missing_ok=True)


def keep_within_budget(study: str) -> None:
    """Delete weights during a sweep until the rest fits the budget, those of the best run last."""
    sizes = {}
    for path in _all(study):
        with suppress(FileNotFoundError):  # another run that ends has just deleted it
            sizes[path.stem] = path.stat().st_size
    if sum(sizes.values()) <= BUDGET:
        return
    believed = loader.load(study).believed.values()
    runs = [record for record in believed if isinstance(record, Record)]
    merit = {run.run_id: run.validation_score for run in runs}
    if leading := choice.best_run(runs):
        merit[leading.run_id] = math.inf
    room = BUDGET
    for run_id in sorted(sizes, key=lambda name: -merit.get(name, -math.inf)):
        room -= sizes[run_id]
        if room < 0:
            paths.weights(study, run_id).unlink(missing_ok=True)


def _all(study: str) -> list[Path]:
    return sorted(paths.weights(study, "any").parent.glob("*.safetensors"))
