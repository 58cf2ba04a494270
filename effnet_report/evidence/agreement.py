"""Whether the records of a study agree with each other about what they share."""

from collections import Counter
from collections.abc import Callable, Hashable
from itertools import combinations

from effnet_core.study.schema import Record
from effnet_report.evidence.soundness import Sound


def disagreeing(sound_records: dict[str, Sound]) -> dict[str, str]:
    """By name of the record, why a record disagrees with the others of its study."""
    reasons: dict[str, str] = {}
    for what, of, share in SHARED:
        reasons |= _outvoted(sound_records, what, of, share)
    remaining = {n: sound for n, sound in sound_records.items() if n not in reasons}
    return reasons | _overlapping_folds(remaining) | _same_weights(remaining)


def _fold(sound: Sound) -> int:
    """The fold that a record tests on; 0 if all seeds have one test set."""
    settings = sound.record.settings
    return settings.seed % settings.folds if settings.folds else 0


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
)


def _oldest_first(sound_records: dict[str, Sound]) -> list[str]:
    return sorted(sound_records, key=lambda name: sound_records[name].record.made.finished)


def _same_weights(sound_records: dict[str, Sound]) -> dict[str, str]:
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


def _overlapping_folds(sound_records: dict[str, Sound]) -> dict[str, str]:
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
