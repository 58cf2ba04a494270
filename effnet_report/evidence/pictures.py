"""The images of a study, where they are on this machine."""

from functools import lru_cache

from effnet_core.data.datasets import Dataset, dataset_of
from effnet_core.errors import InputError
from effnet_report.evidence.evidence import Evidence


@lru_cache(maxsize=1)  # several figures of a page show images of one study
def pictures(evidence: Evidence) -> Dataset | None:
    """The images themselves, if they are here and are those that the runs have seen."""
    try:
        dataset = dataset_of(evidence.design.protocol)
    except InputError:
        return None
    seen = {record.fingerprints.data for record in evidence.finished}
    return dataset if seen <= {dataset.fingerprint} else None
