"""The trained weights of a study's winner: one file beside the records, outside of git.

Which run wins is said in `study.choice`. Each run may change it: weights of a run that had lost
before it won are gone, and training it again gives them to the bit.
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
from effnet_core.study.choice import best_run
from effnet_core.study.records import Record

ENTRY = "effnet"


def keep(study: str, record: Record, backbone: Backbone) -> None:
    """Keep a finished run's weights, if it is the winner of all that are recorded now.

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
            best = winner(study)
            if best is None or not _same(best, record):
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
        found = records.load(records.record_path(study, about["run_id"]))
    except (InputError, OSError):
        return None
    same = isinstance(found, Record) and (
        found.outcome.final_weights == about["outcome"]["final_weights"]
    )
    return found if same else None  # type: ignore[return-value]


def winner(study: str) -> Record | None:
    """The record of the study's best run so far, if there is any."""
    found, _ = records.load_study_records(study)
    return best_run(record for record in found if isinstance(record, Record))


def _same(one: Record, other: Record) -> bool:
    """Whether two records tell of the same run and the same trained weights."""
    return (one.run_id, one.outcome.final_weights) == (other.run_id, other.outcome.final_weights)


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
