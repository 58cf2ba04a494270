"""The trained weights of a study's winner: one file beside the records, outside of git.

Which run wins is said in `study.choice`. Each run may change it: weights of a run that had lost
before it won are gone, and training it again gives them to the bit.
"""

import json

from safetensors import SafetensorError
from safetensors.torch import save_file

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone
from effnet_core.study import records
from effnet_core.study.choice import ENTRY, same, winner
from effnet_core.study.schema import Record


def keep(study: str, record: Record, backbone: Backbone) -> None:
    """Keep a finished run's weights, if it is the winner of all that are recorded now.

    The same run leaves the same file to the bit. On a full disk the record stays, and this is
    told.

    Args:
        study: folder of the run's record, which has been written.
        backbone: whose network is the trained one, with its new head as the classifier.
    """
    try:
        with records.claim(study, "winner"):
            best = winner(study)
            if best is None or not same(best, record):
                return
            about = record.model_dump(mode="json", exclude={"made": True, "settings": {"cache_gb"}})
            about |= {"mean": backbone.mean, "std": backbone.std}
            tensors = {n: value.contiguous() for n, value in backbone.network.state_dict().items()}
            with files.replaced(paths.winner(study)) as partial:
                # One entry: with several, their order in the file would change.
                save_file(tensors, partial, {ENTRY: json.dumps(about, sort_keys=True)})
    except (InputError, SafetensorError) as error:
        print(f"The trained weights are not kept; the record is. {error}", flush=True)
