"""Read and check the records of a study.

A record is *damaged* if it is incomplete or contradicts its predictions. It is *disagreeing* if
its settings differ from the design, its images or initial weights from the other records, or if it
is a copy of another seed's record. A person has to decide about disagreeing records before a
command continues.
"""

import os
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import FREEZE, INCIDENTAL, VARIANT, Settings, Study
from effnet_core.study.schema import AnyRecord, ClassicalRecord, Record
from effnet_core.study.studies import load_study, overrides, read_study, study_name
from effnet_report.escaping import printable
from effnet_report.evidence import predictions


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


class _Sound(NamedTuple):
    """A valid record, and what its predictions say of its images.

    Attributes:
        images: fingerprint of the names and labels of the validation and the test images.
        tests: the same of the test images.
        test_names: names of the test images.
    """

    record: AnyRecord
    images: str
    tests: str
    test_names: frozenset[str]


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
    if not (settings.data_dir or settings.labels):
        return settings
    here = load_design(reference).protocol.model_dump(include={"data_dir", "labels"})
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
    sound_records: dict[str, _Sound] = {}
    for path in records.record_files(reference):
        try:
            sound = _sound(path)
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
    for what, of, share in SHARED:
        loaded.disagreeing.update(_outvoted(sound_records, what, of, share))
    remaining = {n: sound for n, sound in sound_records.items() if n not in loaded.disagreeing}
    loaded.disagreeing.update(_overlapping_folds(remaining) | _same_weights(remaining))
    order = (name for name in planned if name in sound_records and name not in loaded.disagreeing)
    loaded.believed.update({name: sound_records[name].record for name in order})
    return loaded


def _planned(design: Study) -> list[str]:
    runs = [settings.run_id for settings in design.runs()]
    names = (records.baseline_id, records.classical_id)
    return runs + [name(seed) for name in names for seed in design.seeds]


def _sound(path: Path) -> _Sound:
    """Read one record and check that it is complete and consistent.

    Raises:
        InputError: the record is damaged or contradicts itself.
    """
    record, content = records.load_whole(path)
    try:
        parsed = predictions.parse(content)
        predictions.check(record, parsed)
        if isinstance(record, Record):
            _check_history(record)
            _check_race(record)
        else:
            _check_winner(record)
        _check_losses(record)
        _check_facts(record)
        _check_times(record)
    except (InputError, ValueError) as error:
        raise InputError(
            f"{path} contradicts itself: {error}. Delete it and repeat the run, or restore it "
            "from git."
        ) from None
    return _Sound(record, parsed.images, parsed.tests, parsed.test_names)


def _check_history(record: Record) -> None:
    outcome = record.outcome
    history = outcome.history
    if [epoch.epoch for epoch in history] != list(range(1, len(history) + 1)):
        raise InputError("its epochs are not numbered 1, 2, 3")
    if not 0 < outcome.best_epoch <= len(history) <= record.settings.epochs:
        raise InputError("its best epoch was not trained, or more epochs than its settings allow")
    if len(history) != (due := _epochs_due(record)):
        raise InputError(
            f"it trained for {len(history)} epochs, and its settings stop training after {due}"
        )
    if len(outcome.head_first) != record.settings.head_first:
        raise InputError(
            f"its head trained alone for {len(outcome.head_first)} epochs, and its settings want "
            f"{record.settings.head_first}"
        )
    epochs, images = [*history, *outcome.head_first], record.facts.validation_images
    if any(epoch.validation.images != images for epoch in epochs):
        raise InputError(f"an epoch was not validated on its {images} validation images")
    if outcome.best_epoch != _chosen_epoch(record):
        raise InputError("its best epoch is not the one that its settings choose")
    if history[outcome.best_epoch - 1].validation != outcome.validation:
        raise InputError("its validation metrics are not those of its best epoch")
    for name, stated in outcome.best_of_cycle:
        if stated != max(getattr(epoch.validation, name) for epoch in history):
            raise InputError(f"its best {name} is not that of its epochs")


def _epochs_due(record: Record) -> int:
    """The number of epochs after which the stopping rule ends a training with these scores."""
    settings, best, highest = record.settings, 0, -1.0
    for epoch in record.outcome.history:
        score = epoch.validation.score(settings.criterion)
        if score > highest:
            best, highest = epoch.epoch, score
        if epoch.epoch - best >= settings.patience:
            return epoch.epoch
    return settings.epochs


def _check_times(record: AnyRecord) -> None:
    phases = {"train", "total"} if isinstance(record, Record) else {"total"}
    # Older records have wall time only.
    for times in filter(None, (record.made.seconds, record.made.cpu_seconds)):
        if lacking := phases - times.keys():
            raise InputError(f"it lacks the time of {', '.join(sorted(lacking))}")
        if max(times.values()) > times["total"]:
            raise InputError("one of its phases takes longer than the run")


def _check_facts(record: AnyRecord) -> None:
    facts = record.facts
    if len(facts.stages) <= max(FREEZE):
        raise InputError(f"its network has {len(facts.stages)} stages, and some may be missing")
    if facts.trainable_parameters > facts.total_parameters:
        raise InputError("it trains more parameters than its network has")


def _check_losses(record: AnyRecord) -> None:
    losses = [record.outcome.validation.loss, record.outcome.test.loss]
    if isinstance(record, Record):
        for epoch in (*record.outcome.history, *record.outcome.head_first):
            losses += [epoch.train_loss, epoch.validation.loss]
    if min(losses) < 0:
        raise InputError("a loss of it is negative")


def _check_winner(record: ClassicalRecord) -> None:
    """Check that the model is the best of its candidates in cross-validation."""
    outcome = record.outcome
    model = (outcome.features, outcome.classifier, outcome.options)
    scores = [
        candidate.cv_accuracy
        for candidate in outcome.candidates
        if (candidate.features, candidate.classifier, candidate.options) == model
    ]
    if not scores or max(scores) < max(one.cv_accuracy for one in outcome.candidates):
        raise InputError("its model is not the best of its candidates")


def _chosen_epoch(record: Record) -> int:
    history, settings = record.outcome.history, record.settings
    if settings.select == "last":
        return len(history)
    return max(history, key=lambda epoch: epoch.validation.score(settings.criterion)).epoch


def _check_race(record: Record) -> None:
    """Check that the rate with the lowest validation loss won the race, and trained on."""
    settings, heats, history = record.settings, record.outcome.race, record.outcome.history
    rates = settings.rates if len(settings.rates) > 1 else ()
    if tuple(heat.learning_rate for heat in heats) != rates:
        raise InputError("its race is not one of the learning rates in its settings")
    if not heats:
        return
    losses = {heat.learning_rate: heat.validation_loss for heat in heats}
    lowest = min((loss for loss in losses.values() if loss is not None), default=None)
    raced = history[min(settings.race_epochs, len(history)) - 1].validation.loss
    if lowest is None or losses.get(history[0].learning_rate) != lowest or raced != lowest:
        raise InputError("the learning rate with the lowest validation loss did not win its race")


def _of_another_design(record: AnyRecord, design: Study, reference: str) -> str:
    """Why a record does not fit the design; empty if it does."""
    folder = reference.rsplit("/", 1)[-1]
    if record.settings.study != folder:
        return f"was made for study {record.settings.study}"
    changes = overrides(design, record.settings)
    changed = [f"{n} {now} -> {was}" for n, (now, was) in changes.items() if n not in INCIDENTAL]
    if (folder == design.name and not changed) or study_name(design, record.settings) == folder:
        return ""
    return f"was made with other settings than the design has: {', '.join(changed)}"


def _fold(sound: _Sound) -> int:
    """The fold that a record tests on; 0 if all seeds have one test set."""
    settings = sound.record.settings
    return settings.seed % settings.folds if settings.folds else 0


# Properties that records share: the name, its field, and the records that share it. The reason
# that is given is the last one that applies.
SHARED: tuple[tuple[str, Callable[[_Sound], str], Callable[[_Sound], Hashable]], ...] = (
    ("test images, or labels of them,", lambda s: s.tests, _fold),
    ("classes", lambda s: "\0".join(s.record.facts.classes), lambda _: "study"),
    ("images", lambda s: s.record.fingerprints.data, lambda _: "study"),
    (
        "weights",
        lambda s: s.record.fingerprints.weights,
        lambda s: (s.record.settings.backbone, s.record.settings.weights),
    ),
    ("split", lambda s: s.record.fingerprints.split, lambda s: s.record.settings.seed),
    ("images or labels in its predictions", lambda s: s.images, lambda s: s.record.settings.seed),
)


def _oldest_first(sound_records: dict[str, _Sound]) -> list[str]:
    return sorted(sound_records, key=lambda name: sound_records[name].record.made.finished)


def _same_weights(sound_records: dict[str, _Sound]) -> dict[str, str]:
    """Records with the trained weights of an older record of another seed.

    Seeds start with different heads, so two of them never end with equal weights.
    """
    same: dict[str, str] = {}
    trained: dict[str, Record] = {}
    for name in _oldest_first(sound_records):
        record = sound_records[name].record
        if isinstance(record, Record):
            older = trained.setdefault(record.outcome.final_weights, record)
            if older.settings.seed != record.settings.seed:
                same[name] = (
                    f"has the trained weights of {older.run_id}, which has another seed: one of "
                    "the two is a copy"
                )
    return same


def _overlapping_folds(sound_records: dict[str, _Sound]) -> dict[str, str]:
    """Records with test images that an older record of another fold tests too."""
    lists = {name: (_fold(sound), sound.tests) for name, sound in sound_records.items()}
    oldest: dict[tuple[int, str], str] = {}
    for name in _oldest_first(sound_records):
        oldest.setdefault(lists[name], name)
    shared: dict[tuple[int, str], str] = {}
    for older, name in combinations(oldest.values(), 2):
        first, second = sound_records[older], sound_records[name]
        if _fold(first) != _fold(second) and first.test_names & second.test_names:
            shared[lists[name]] = older
    return {
        name: f"tests images that {shared[tested]} tests too, though their folds differ"
        for name, tested in lists.items()
        if tested in shared
    }


def _outvoted(
    sound_records: dict[str, _Sound],
    what: str,
    of: Callable[[_Sound], str],
    share: Callable[[_Sound], Hashable],
) -> dict[str, str]:
    """Records that differ from their group's majority.

    Of two groups of equal size, the one whose first record is older is kept.
    """
    groups: dict[Hashable, list[str]] = {}
    for name in _oldest_first(sound_records):
        groups.setdefault(share(sound_records[name]), []).append(name)
    outvoted: dict[str, str] = {}
    for names in groups.values():
        (most, count), *others = Counter(of(sound_records[name]) for name in names).most_common()
        if others:
            outvoted |= {
                name: f"has other {what} than the {count} records it is to be compared with"
                for name in names
                if of(sound_records[name]) != most
            }
    return outvoted
