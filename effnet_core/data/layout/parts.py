"""Recognise names of the parts of a data set, such as train, val and test."""

import re
import unicodedata
from collections.abc import Sequence

# Words for parts of a data set, with the part that each means.
WORDS = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "holdout"), "test"),
    **dict.fromkeys(("unlabeled", "unlabelled", "unsup", "unsupervised", "pred"), "unlabeled"),
}
# The same in Spanish, Portuguese, French, German and Italian.
FOREIGN = {
    **dict.fromkeys(("entrenamiento", "treino", "treinamento", "entraînement"), "train"),
    **dict.fromkeys(("entrainement", "apprentissage", "entreno"), "train"),
    **dict.fromkeys(("trainings", "addestramento"), "train"),
    **dict.fromkeys(("validación", "validacion", "validação", "validacao"), "val"),
    **dict.fromkeys(("validierung", "validierungs", "validazione"), "val"),
    **dict.fromkeys(("prueba", "pruebas", "teste", "testes"), "test"),
}
# Other words in names of parts, as in `Training_set` and `test-images`; numbers occur too.
FILLERS = {
    *("set", "split", "data", "dataset", "images", "image", "imgs", "img", "photos", "folder"),
    *("daten", "bilder"),  # as in `Testdaten`
    *("public", "private"),  # of competitions
}
KNOWN = WORDS | FOREIGN
_FILLER = f"(?:{'|'.join(sorted(FILLERS, key=len, reverse=True))})?"
# Two words for one, as in `hold-out` and `heldOut`.
HOLDOUT = re.compile(r"(?<![^\W\d_])h[eo]ld[\W_]*out(?![^\W\d_])")
# Words without a mark between them, such as `trainset` and `publictest`.
GLUED = re.compile(f"({_FILLER})({'|'.join(sorted(KNOWN, key=len, reverse=True))})({_FILLER})")


def part_of(name: str) -> str:
    """The part that a name means: train, val, test, unlabeled, or empty for other names."""
    parts, rest = parts_and_rest(name)
    return parts[0] if len(parts) == 1 and rest <= FILLERS else ""


def may_be_a_class(part: str) -> bool:
    """Whether a name of a part may be that of a class too: trains are seen on photos."""
    return part.lower() in ("train", "trains")


def parts_among(names: Sequence[str]) -> dict[str, str]:
    """The names that mean parts, with the part of each.

    `seg_train` counts beside `seg_test`, because the two differ only in the word for the part.
    """
    parts = {name: part for name in names if (part := part_of(name))}
    split = {name: parts_and_rest(name) for name in names}
    for name, (own, rest) in split.items():
        if len(own) == 1 and any(
            other and other != own and its_rest == rest for other, its_rest in split.values()
        ):
            parts[name] = own[0]
    return parts


def parts_and_rest(name: str) -> tuple[list[str], frozenset[str]]:
    """The parts that words of a name mean, and its other words without numbers."""
    words: list[str] = []
    for word in words_of(name):
        glued = GLUED.fullmatch(word)
        words += filter(None, glued.groups()) if glued else [word]
    return [KNOWN[word] for word in words if word in KNOWN], frozenset(words) - KNOWN.keys()


def words_of(name: str) -> list[str]:
    """The words of a name in small letters, without numbers; `TestSet` is two words."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFC", name))
    whole = HOLDOUT.sub("holdout", apart.lower())
    return [word for word in re.split(r"[\W_\d]+", whole) if word]


def parts_inside(images: Sequence[str]) -> list[str]:
    """Folders inside class folders that mean parts, such as `cat/train`."""
    ways = {name.rpartition("/")[0] for name in images}
    folders = {way[: match.start()] for way in ways for match in re.finditer("/|$", way)}
    children: dict[str, list[str]] = {}
    for folder in sorted(folders):
        parent, _, name = folder.rpartition("/")
        if parent:
            children.setdefault(parent, []).append(name)
    return [f"{parent}/{name}" for parent, names in children.items() for name in parts_among(names)]
