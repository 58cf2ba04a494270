"""The trained weights of a study's winner: one file beside the records, outside of git.

The winner is the run with the highest validation accuracy, of equals the first in Table 1, then
the lowest seed. So it is known after each run whether its weights are worth keeping.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone
from effnet_core.study import records
from effnet_core.study.records import Record

ENTRY = "effnet"


def rank(record: Record) -> tuple[float, int, int]:
    """The winner's is the largest of a study."""
    return record.outcome.validation.accuracy, -record.number, -record.settings.seed


def keep(study: str, record: Record, backbone: Backbone) -> None:
    """Keep a finished run's weights, unless those that are kept are better on validation.

    The same run leaves the same file to the bit. On a full disk the record stays, and this is
    told.

    Args:
        study: folder of the run's record, which has been written.
        backbone: whose network is the trained one, with its new head as the classifier.
    """
    path = paths.winner(study)
    about = record.model_dump(mode="json", exclude={"made": True, "settings": {"cache_gb"}})
    about |= {"mean": backbone.mean, "std": backbone.std}
    tensors = {name: value.contiguous() for name, value in backbone.network.state_dict().items()}
    try:
        with records.claim(study, "winner"):
            kept = kept_run(study)
            mine = _recorded(study, record.run_id, record.outcome.final_weights)
            if mine is None or (kept and rank(kept) > rank(record)):
                return
            with files.replaced(path) as partial:
                # One entry: with several, their order in the file would change.
                save_file(tensors, partial, {ENTRY: json.dumps(about, sort_keys=True)})
    except (InputError, SafetensorError) as error:
        print(f"The trained weights are not kept; the record is. {error}", flush=True)


def kept_run(study: str) -> Record | None:
    """The record of the run whose weights are kept, if it is still recorded as it was."""
    try:
        about = describe(paths.winner(study))
    except InputError:
        return None
    return _recorded(study, about["run_id"], about["outcome"]["final_weights"])


def _recorded(study: str, run_id: str, weights: str) -> Record | None:
    """A run's record, if it tells of these trained weights."""
    try:
        record = records.load(records.record_path(study, run_id))
    except (InputError, OSError):
        return None
    same = isinstance(record, Record) and record.outcome.final_weights == weights
    return record if same else None  # type: ignore[return-value]


def winner(study: str) -> Record | None:
    """The record of the run that did best on validation, if there is any."""
    found, _ = records.load_study_records(study)
    return max((r for r in found if isinstance(r, Record)), key=rank, default=None)


def describe(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself: its run's record, `mean` and `std`.

    Raises:
        InputError: not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()[ENTRY])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not hold the weights of a winner. Delete it.") from None
