"""Read and check the records of a study.

A record is *damaged* if it is incomplete or contradicts its predictions. It is *disagreeing* if
its settings differ from the design, its images or initial weights from the other records, or if it
is a copy of another seed's record. A person has to decide about disagreeing records before a
command continues.
"""

import os
from dataclasses import dataclass

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import INCIDENTAL, VARIANT, Settings, Study
from effnet_core.study.schema import AnyRecord, ClassicalRecord
from effnet_core.study.studies import load_study, overrides, read_study, study_name
from effnet_report.escaping import printable
from effnet_report.evidence import agreement, soundness
from effnet_report.evidence.soundness import Sound


@dataclass(frozen=True)
class Loaded:
    """The records in a study's folder.

    Attributes:
        reference: folder of the records, such as `quick` or `published/quick`.
        believed: valid records by run id, in the order of the design, classical models last.
        damaged: by file name without ending, why a record is damaged.
        disagreeing: by file name without ending, why a record disagrees with the others or the
            design.
        uncounted: by file name without ending, why a record is not part of the design.
    """

    reference: str
    design: Study
    believed: dict[str, AnyRecord]
    damaged: dict[str, str]
    disagreeing: dict[str, str]
    uncounted: dict[str, str]

    @property
    def set_aside(self) -> dict[str, str]:
        """The reason for each record that is left out."""
        return self.damaged | self.disagreeing | self.uncounted

    def check_agreement(self) -> None:
        """Make sure that no record disagrees with the design or with the others.

        Raises:
            InputError: a record disagrees.
        """
        if self.disagreeing:
            name, why = next(iter(self.disagreeing.items()))
            count = len(self.disagreeing)
            others = f" ({count} records disagree: `effnet status`.)" if count > 1 else ""
            raise InputError(
                f"{records.record_path(self.reference, name)} {why}. Move it and its predictions "
                f"out of the folder, or give the study another name.{others}"
            )

    def check_sound(self) -> None:
        """Make sure that no record disagrees, and that none is damaged.

        Raises:
            InputError: a record does or is.
        """
        self.check_agreement()
        if self.damaged:
            raise InputError(next(iter(self.damaged.values())))

    def check_images(self, fingerprint: str) -> None:
        """Make sure that the records were made from the images that have this fingerprint.

        Raises:
            InputError: they were made from others, as when a study is made again under its name.
        """
        if {record.fingerprints.data for record in self.believed.values()} - {fingerprint}:
            folder = paths.records(self.reference)
            raise InputError(
                f"The images of {self.design.name} are not those that its {len(self.believed)} "
                f"records were made from. Put the images back, give the study another name, or "
                f"move its records out of {folder}."
            )

    def check_split(self, seed: int, fingerprint: str) -> None:
        """Make sure that the records of a seed were made with the split that has this fingerprint.

        The fingerprint of the images leaves out columns of a table, such as parts and groups.

        Raises:
            InputError: they were made with another split.
        """
        for record in self.believed.values():
            if record.settings.seed == seed and record.fingerprints.split != fingerprint:
                raise InputError(
                    f"Seed {seed} of {self.design.name} would be trained and tested on other "
                    f"images than its record {record.run_id}. The parts or groups of the images "
                    f"have changed since: restore them, or give the study another name."
                )


def load_design(reference: str) -> Study:
    """The design behind a reference such as `quick`, `published/quick` or `quick~3fa9c1d02b7e`.

    Published records have their own copy of the design, because the file in `studies/` may have
    changed.
    """
    if {"", ".", ".."} & set(reference.split("/")):
        raise InputError(
            f"There is no study {reference!r}. Give a folder of results/, as quick or "
            "published/quick."
        )
    study = reference.split(VARIANT, maxsplit=1)[0]
    name = study.rsplit("/", 1)[-1]
    if os.path.isfile(paths.design(study)):  # noqa: PTH113  the name may be too long
        return read_study(paths.design(study), name)
    return load_study(name)


def located(settings: Settings, reference: str) -> Settings:
    """Settings of a record, with the data paths of the design, which records leave out."""
    return _with_places_of(load_design(reference), settings)


def _with_places_of(design: Study, settings: Settings) -> Settings:
    if not (settings.data_dir or settings.labels):
        return settings
    here = design.protocol.model_dump(include={"data_dir", "labels"})
    return settings.model_copy(update=here)


def load(reference: str, design: Study | None = None) -> Loaded:
    """Read a study's folder once.

    Args:
        reference: a folder under `results/`.
        design: the planned study; by default the one that the reference names.

    Raises:
        InputError: there is no such study.
    """
    design = design or load_design(reference)
    loaded = Loaded(reference, design, {}, {}, {}, {})
    planned = _planned(design)
    sound_records: dict[str, Sound] = {}
    for path in records.record_files(reference):
        try:
            sound = soundness.read(path)
        except InputError as error:
            loaded.damaged[printable(path.stem)] = printable(str(error))
            continue
        if path.stem not in planned:
            name = printable(path.stem)
            loaded.uncounted[name] = "is of no run that the design names: not counted"
        elif why := _of_another_design(sound.record, design, reference):
            loaded.disagreeing[path.stem] = why
        else:
            sound_records[path.stem] = sound
    loaded.disagreeing.update(agreement.disagreeing(sound_records))
    order = (name for name in planned if name in sound_records and name not in loaded.disagreeing)
    loaded.believed.update({name: sound_records[name].record for name in order})
    return loaded


def _planned(design: Study) -> list[str]:
    runs = [settings.run_id for settings in design.runs()]
    names = (records.baseline_id, records.classical_id)
    return runs + [name(seed) for name in names for seed in design.seeds]


def _of_another_design(record: AnyRecord, design: Study, reference: str) -> str:
    """Why a record does not fit the design; empty if it does."""
    folder = reference.rsplit("/", 1)[-1]
    if record.settings.study != folder:
        return f"was made for study {record.settings.study}"
    changes = overrides(design, record.settings)
    levels = _other_levels(record, design) if isinstance(record, ClassicalRecord) else {}
    changed = [
        f"{n} {now} -> {was}" for n, (now, was) in (changes | levels).items() if n not in INCIDENTAL
    ]
    settings = _with_places_of(design, record.settings)
    of_variant = not levels and study_name(design, settings) == folder
    if of_variant or (folder == design.name and not changed):
        return ""
    if not changed:  # a record holds the name of its folder, not the path that named the variant
        return (
            "was made with another data_dir or labels than the design has (`effnet new` writes a "
            "study for a folder)"
        )
    return f"was made with other settings than the design has: {', '.join(changed)}"


# Factors that change what classical models see; a study's comparison has the first level of each.
SEEN_BY_CLASSICAL = {"image_size", "resize", "background", "backbone", "weights", "batch_size"}


def _other_levels(record: ClassicalRecord, design: Study) -> dict[str, tuple[object, object]]:
    """Factors whose first level a classical record does not have, as pairs (recorded, first level).

    The name of a fine-tuned record has its levels; that of a classical one has only its seed.
    """
    first = design.configurations()[0]
    names = SEEN_BY_CLASSICAL & design.factors.keys()
    pairs = {n: (getattr(record.settings, n), getattr(first, n)) for n in sorted(names)}
    return {name: (was, level) for name, (was, level) in pairs.items() if was != level}
