"""The images that a study's runs have seen, if they are on this machine."""

from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.errors import InputError
from effnet_report.evidence.evidence import Evidence


def dataset_of(evidence: Evidence) -> Dataset | None:
    """The data set of a study with finished runs; None if it is not here, or has changed."""
    protocol = evidence.design.protocol
    try:
        dataset = load_dataset(
            protocol.dataset, protocol.data_dir, protocol.labels, protocol.groups
        )
    except InputError:
        return None
    seen = evidence.predictions(evidence.finished[0]).index
    return dataset if seen.isin(dataset.names).all() else None
