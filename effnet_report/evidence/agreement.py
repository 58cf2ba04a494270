"""Whether the records of a study agree with each other about what they share."""

from collections import Counter
from collections.abc import Callable, Hashable
from itertools import permutations

from effnet_core.study.design import FREEZE, INCIDENTAL, Settings
from effnet_core.study.schema import Record
from effnet_report.evidence.soundness import Sound

# Share of the oddest fold's distance from the mean that right folds may have.
ODD = 0.5
# Share of a study's records up to which those that stand alone are wrong.
FEW = 0.1


def disagreeing(sound_records: dict[str, Sound]) -> dict[str, str]:
    """By name of the record, why a record disagrees with the others of its study."""
    reasons: dict[str, str] = {}
    for what, of, share in SHARED:
        reasons |= _outvoted(sound_records, what, of, share)
    for why in (_other_labels, _overlapping_folds, _of_all_folds, _same_weights):
        remaining = {n: sound for n, sound in sound_records.items() if n not in reasons}
        reasons |= why(remaining)
    return reasons


def _fold(sound: Sound) -> int:
    """The fold that a record tests on; 0 if all seeds have one test set."""
    settings = sound.record.settings
    return settings.seed % settings.folds if settings.folds else 0


def _images(sound: Sound) -> tuple[int, int, int]:
    """The numbers of images of the three parts."""
    facts = sound.record.facts
    return facts.train_images, facts.validation_images, facts.test_images


def _drawn_together(sound: Sound) -> Hashable:
    """Runs whose parts have the same number of images in all."""
    settings = sound.record.settings
    # A seed that draws its own training images gets as many copies as these have.
    return settings.seed if settings.train_images else "study"


def _network(settings: Settings) -> tuple[str, str, int]:
    """What decides how many parameters a network has."""
    return settings.backbone, settings.head, settings.hidden_width if settings.head == "mlp" else 0


# Properties that records share: the name, its field, and the records that share it. The reason
# that is given is the last one that applies.
SHARED: tuple[tuple[str, Callable[[Sound], Hashable], Callable[[Sound], Hashable]], ...] = (
    ("test images, or labels of them,", lambda s: s.tests, _fold),
    ("classes", lambda s: "\0".join(s.record.facts.classes), lambda _: "study"),
    ("images", lambda s: s.record.fingerprints.data, lambda _: "study"),
    (
        "weights",
        lambda s: s.record.fingerprints.weights,
        lambda s: (s.record.settings.backbone, s.record.settings.weights),
    ),
    ("number of images in all parts", lambda s: sum(_images(s)), _drawn_together),
    ("split", lambda s: s.record.fingerprints.split, lambda s: s.record.settings.seed),
    ("images or labels in its predictions", lambda s: s.images, lambda s: s.record.settings.seed),
    ("numbers of images", _images, lambda s: s.record.settings.seed),
    (
        "stages",
        lambda s: str(s.record.facts.stages),
        lambda s: (s.record.settings.backbone, s.record.settings.image_size),
    ),
    (
        "number of parameters",
        lambda s: s.record.facts.total_parameters,
        lambda s: (s.record.kind, _network(s.record.settings)),
    ),
)


def _other_labels(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records whose list of images contradicts the labels in the lists of other seeds.

    The list that contradicts lists of most records is wrong, or all of equals; then the next.
    """
    lists = {sound.images: sound.listed.labels for sound in sound_records.values()}
    sizes = Counter(sound.images for sound in sound_records.values())
    merged: dict[str, str] = {}
    for labels in lists.values():
        merged |= labels
    if all(labels.items() <= merged.items() for labels in lists.values()):
        return {}
    rivals = {
        images: {other for other, its in lists.items() if _contradict(labels, its)}
        for images, labels in lists.items()
    }
    wrong: set[str] = set()
    while contradicted := {
        images: sum(sizes[other] for other in others - wrong)
        for images, others in rivals.items()
        if images not in wrong and others - wrong
    }:
        most = max(contradicted.values())
        wrong |= {images for images, count in contradicted.items() if count == most}
    return {
        name: "labels images otherwise than most records that name them"
        for name, sound in sound_records.items()
        if sound.images in wrong
    }


def _contradict(labels: dict[str, str], others: dict[str, str]) -> bool:
    return any(labels[name] != others[name] for name in labels.keys() & others.keys())


def _of_all_folds(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records that contradict that all folds together test every image once."""
    folds = {(sound.record.settings.folds, _fold(sound)) for sound in sound_records.values()}
    whole = all(0 < of <= len(folds) for of, _ in folds)
    if not (sound_records and whole):
        return {}
    return _uneven_folds(sound_records) or _untested_images(sound_records)


def _untested_images(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records that validate on images that no fold tests, or that lack them as test images.

    A list of images does not say which of the two is wrong, unless few records stand alone.
    """
    lists = {sound.images: sound.listed for sound in sound_records.values()}
    untested = (
        set()
        .union(*(listed.labels for listed in lists.values()))
        .difference(*(listed.test_names for listed in lists.values()))
    )
    if not untested:
        return {}
    naming = {n: not untested.isdisjoint(s.listed.labels) for n, s in sound_records.items()}
    share = sum(naming.values()) / len(naming)
    fewer, alone = share < 0.5, min(share, 1 - share) <= FEW
    images = f"{len(untested)} images that no fold tests"
    return {
        name: f"validates on {images}"
        if names_them
        else f"may lack test images: others validate on {images}"
        for name, names_them in naming.items()
        if names_them == fewer or not alone
    }


def _uneven_folds(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records of folds that together do not test every image once.

    If the oddest fold alone explains it, the others are right.
    """
    first = next(iter(sound_records.values()))
    images = sum(_images(first))
    tests = {_fold(sound): sound.record.facts.test_images for sound in sound_records.values()}
    draws = first.record.settings.train_images  # then most images are in no part
    if draws or sum(tests.values()) == images:
        return {}
    oddest = max(tests, key=lambda fold: abs(tests[fold] - images / len(tests)))
    mean = (images - tests[oddest]) / (len(tests) - 1)  # of the other folds, if they are right
    alone = all(
        abs(n - mean) <= ODD * abs(tests[oddest] - mean) for f, n in tests.items() if f != oddest
    )
    return {
        name: f"tests {tests[_fold(sound)]} images, but all {len(tests)} folds together test "
        f"{sum(tests.values())} of {images}"
        for name, sound in sound_records.items()
        if not alone or _fold(sound) == oddest
    }


def _same_weights(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records with the trained weights of a record that was trained in another way.

    Seeds start with different heads, so two of them never end with equal weights; nor do networks
    of which other parts were trained, or that saw other images, rates or batches. Nothing in two
    such records says which of them is the copy.
    """
    alike: dict[str, list[tuple[str, object]]] = {}
    for sound in sound_records.values():
        if isinstance(record := sound.record, Record):
            trained = record.run_id, _training(record, sound)
            alike.setdefault(record.outcome.final_weights, []).append(trained)
    return {
        name: f"has the trained weights of {other}, which was trained in another way: one of the "
        "two is a copy"
        for group in alike.values()
        for name, how in group
        for other, its in group
        if how != its
    }


# Settings that decide how long a run trains, and at which rates: equal epochs may follow from
# different ones.
HOW_LONG = {
    *("scheduler", "learning_rate", "race_epochs", "epochs", "early_stop_patience", "select"),
    *("plateau_patience", "plateau_factor"),
}
# Settings that need not change anything: for some images, such as squares; and other names of the
# same weights, which have a fingerprint.
FOR_SOME = {"resize", "background", "compiled", "weights"}


def _training(record: Record, sound: Sound) -> tuple[dict[str, object], list[tuple[float, float]]]:
    """What two records of equal trained weights have in common.

    Returns:
        The settings that decide the weights of every network; and rate and training loss of each
        epoch up to the one whose weights are used.
    """
    settings, outcome = record.settings, record.outcome
    left_out = INCIDENTAL | HOW_LONG | FOR_SOME
    if settings.head == "none":
        left_out |= {"dropout", "hidden_width"}
    if settings.freeze == max(FREEZE):  # many networks train no block then that could be dropped
        left_out |= {"drop_path"}
    sizes = Counter(sound.listed.labels.values()).values()
    if max(sizes) - min(sizes) <= 2:  # of equally large classes all weigh the same
        left_out |= {"class_weights"}
    # All images are one batch, and a single one that is left joins the last batch.
    batch = min(settings.batch_size, record.facts.train_images - 1)
    epochs = outcome.history[: outcome.best_epoch]
    return (
        settings.model_dump(exclude=left_out)
        | {"batch_size": batch, "weights": record.fingerprints.weights},
        [(epoch.learning_rate, epoch.train_loss) for epoch in epochs],
    )


def _overlapping_folds(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records with test images that as many or more records of another fold test too."""
    lists: dict[tuple[int, str], list[str]] = {}
    for name, sound in sound_records.items():
        lists.setdefault((_fold(sound), sound.tests), []).append(name)
    reasons: dict[str, str] = {}
    for names, others in permutations(lists.values(), 2):
        first, second = sound_records[names[0]], sound_records[others[0]]
        overlap = first.listed.test_names & second.listed.test_names
        if _fold(first) != _fold(second) and overlap and len(names) <= len(others):
            why = f"tests images that {others[0]} tests too, though their folds differ"
            reasons |= dict.fromkeys(names, why)
    return reasons


def _outvoted(
    sound_records: dict[str, Sound],
    what: str,
    of: Callable[[Sound], Hashable],
    share: Callable[[Sound], Hashable],
) -> dict[str, str]:
    """Records that differ from the majority of their group; all of them without a majority.

    Dates are no help: whoever can write a record can write its date.
    """
    groups: dict[Hashable, list[str]] = {}
    for name, sound in sound_records.items():
        groups.setdefault(share(sound), []).append(name)
    outvoted: dict[str, str] = {}
    for names in groups.values():
        (most, count), *others = Counter(of(sound_records[name]) for name in names).most_common()
        undecided = any(other == count for _, other in others)
        if others:
            outvoted |= {
                name: f"has other {what} than the {count} records it is to be compared with"
                for name in names
                if undecided or of(sound_records[name]) != most
            }
    return outvoted
