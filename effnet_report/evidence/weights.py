"""The trained weights that a study keeps: of which run they are, what they say of themselves."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.choice import ENTRY, same, winner
from effnet_core.study.schema import Record


def kept_run(study: str) -> Record | None:
    """The record of the run whose weights are kept, if it is still recorded as it was."""
    try:
        about = describe(paths.winner(study))
        found = records.load(records.record_path(study, about["run_id"]))
    except (InputError, OSError):
        return None
    told = about["outcome"]["final_weights"]
    return found if isinstance(found, Record) and found.outcome.final_weights == told else None


def lost(study: str) -> Record | None:
    """The winner, if its weights are not kept; training it again gives them to the bit."""
    best, kept = winner(study), kept_run(study)
    return None if best is None or (kept and same(kept, best)) else best


def describe(path: Path) -> dict[str, Any]:
    """What a file of weights says of itself: its run's record, `mean` and `std`.

    Raises:
        InputError: not such a file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()[ENTRY])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} does not hold the weights of a winner. Delete it.") from None
