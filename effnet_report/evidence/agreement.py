"""Whether the records of a study agree with each other about what they share."""

from collections import Counter
from collections.abc import Callable, Hashable
from itertools import combinations

from effnet_core.study.design import Settings
from effnet_core.study.schema import Record
from effnet_report.evidence.soundness import Sound


def disagreeing(sound_records: dict[str, Sound]) -> dict[str, str]:
    """By name of the record, why a record disagrees with the others of its study."""
    reasons: dict[str, str] = {}
    for what, of, share in SHARED:
        reasons |= _outvoted(sound_records, what, of, share)
    for why in (_other_labels, _overlapping_folds, _untested_images, _same_weights):
        remaining = {n: sound for n, sound in sound_records.items() if n not in reasons}
        reasons |= why(remaining)
    return reasons


def _fold(sound: Sound) -> int:
    """The fold that a record tests on; 0 if all seeds have one test set."""
    settings = sound.record.settings
    return settings.seed % settings.folds if settings.folds else 0


def _images(sound: Sound) -> str:
    """The numbers of images of the three parts."""
    facts = sound.record.facts
    return f"{facts.train_images} {facts.validation_images} {facts.test_images}"


def _network(settings: Settings) -> tuple[str, str, int]:
    """What decides how many parameters a network has, and how many of them are trained."""
    return settings.backbone, settings.head, settings.freeze


# Properties that records share: the name, its field, and the records that share it. The reason
# that is given is the last one that applies.
SHARED: tuple[tuple[str, Callable[[Sound], str], Callable[[Sound], Hashable]], ...] = (
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
    ("numbers of images", _images, lambda s: s.record.settings.seed),
    (
        "stages",
        lambda s: str(s.record.facts.stages),
        lambda s: (s.record.settings.backbone, s.record.settings.image_size),
    ),
    (
        "numbers of parameters",
        lambda s: f"{s.record.facts.trainable_parameters} {s.record.facts.total_parameters}",
        lambda s: (s.record.kind, *_network(s.record.settings)),
    ),
)


def _other_labels(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records whose list of images contradicts the labels in the lists of other seeds.

    The list that contradicts lists of most records is wrong, the newer of equals; then the next.
    """
    newest_first = [sound_records[name] for name in reversed(_oldest_first(sound_records))]
    lists = {sound.images: sound.listed.labels for sound in newest_first}
    sizes = Counter(sound.images for sound in newest_first)
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
        wrong.add(max(contradicted, key=lambda images: contradicted[images]))
    return {
        name: "labels images otherwise than most records that name them"
        for name, sound in sound_records.items()
        if sound.images in wrong
    }


def _contradict(labels: dict[str, str], others: dict[str, str]) -> bool:
    return any(labels[name] != others[name] for name in labels.keys() & others.keys())


def _untested_images(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records whose fold lacks test images: others validate on them, and no fold tests them."""
    lists = {sound.images: sound.listed for sound in sound_records.values()}
    folds = {(sound.record.settings.folds, _fold(sound)) for sound in sound_records.values()}
    if any(len(folds) < of for of, _ in folds) or (0, 0) in folds:  # one is missing, or no folds
        return {}
    untested = (
        set()
        .union(*(listed.labels for listed in lists.values()))
        .difference(*(listed.test_names for listed in lists.values()))
    )
    return {
        name: f"lacks test images: no fold tests {len(untested)} images that others validate on"
        for name, sound in sound_records.items()
        if untested and untested.isdisjoint(sound.listed.labels)
    }


def _oldest_first(sound_records: dict[str, Sound]) -> list[str]:
    return sorted(sound_records, key=lambda name: sound_records[name].record.made.finished)


def _same_weights(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records with the trained weights of an older record of another seed, depth or head.

    Seeds start with different heads, so two of them never end with equal weights; nor do networks
    of which other parts were trained.
    """
    same: dict[str, str] = {}
    trained: dict[str, Record] = {}
    for name in _oldest_first(sound_records):
        record = sound_records[name].record
        if isinstance(record, Record):
            older = trained.setdefault(record.outcome.final_weights, record)
            trained_as = [(one.settings.seed, _network(one.settings)) for one in (older, record)]
            if trained_as[0] != trained_as[1]:
                same[name] = (
                    f"has the trained weights of {older.run_id}, which has another seed, depth or "
                    "head: one of the two is a copy"
                )
    return same


def _overlapping_folds(sound_records: dict[str, Sound]) -> dict[str, str]:
    """Records with test images that an older record of another fold tests too."""
    lists = {name: (_fold(sound), sound.tests) for name, sound in sound_records.items()}
    oldest: dict[tuple[int, str], str] = {}
    for name in _oldest_first(sound_records):
        oldest.setdefault(lists[name], name)
    shared: dict[tuple[int, str], str] = {}
    for older, name in combinations(oldest.values(), 2):
        first, second = sound_records[older], sound_records[name]
        if _fold(first) != _fold(second) and first.listed.test_names & second.listed.test_names:
            shared[lists[name]] = older
    return {
        name: f"tests images that {shared[tested]} tests too, though their folds differ"
        for name, tested in lists.items()
        if tested in shared
    }


def _outvoted(
    sound_records: dict[str, Sound],
    what: str,
    of: Callable[[Sound], str],
    share: Callable[[Sound], Hashable],
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
