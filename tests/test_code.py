"""The fingerprint of the code: edits of wording keep it, edits of meaning change it."""

import ast

import pytest

import effnet_core
from effnet_core.study import code
from effnet_core.study.code import PURPOSES, code_fingerprint

SOURCE = '''
"""A module."""
from collections.abc import Callable
import torch
from effnet_core.errors import InputError

RATE = 0.1
MARGIN: float = 2.0

class Model:
    """A model."""
    depth: int = 3
    width: int

def train(model: Model, loss: float, *, report: Callable | None = None) -> float:
    """Train it."""
    steps = [1, 2]  # two
    if loss > RATE:
        raise InputError(f"Loss {loss} is too high.")
    print("trained", loss)
    return torch.exp(loss) * RATE + len(steps)

def describe(model):
    return "a model"
'''


def edited(monkeypatch, old: str, new: str, names: tuple[str, ...] = ()) -> bool:
    """Whether an edit of the source changes its fingerprint."""
    monkeypatch.setitem(PURPOSES, "trial", {"trial.py": names})
    assert SOURCE.count(old) == 1

    def fingerprint(text: str) -> str:
        monkeypatch.setitem(effnet_core.SOURCES, "trial.py", text.encode())
        return code_fingerprint("trial")

    return fingerprint(SOURCE) != fingerprint(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Train it."""', '"""Fit the model."""'),
        ('    """A model."""\n', ""),
        ("  # two", "  # steps\n\n"),
        ("[1, 2]", "[\n        1,\n        2,\n    ]"),
        ("loss: float, *", "loss: int, *"),
        (" -> float", ""),
        ("MARGIN: float = 2.0", "MARGIN = 2.0"),
        ("depth: int", "depth: float"),
        ("Callable | None", "Callable"),
        ("from collections.abc import Callable\n", "from typing import Any, Callable\n"),
        ("import torch\nfrom effnet_core.errors import InputError\n",
         "from effnet_core.errors import InputError\nimport torch\n"),
        ('"trained", loss', 'f"The loss is {loss:.3f}", flush=True'),
        ('    print("trained", loss)\n', ""),
        ('f"Loss {loss} is too high."', '"The loss is " + "too high."'),
        ("len(steps)", "(len((steps)))"),
    ],
)  # fmt: skip
def test_wording_and_formatting_keep_it(monkeypatch, old, new):
    assert not edited(monkeypatch, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RATE = 0.1", "RATE = 0.2"),
        ("[1, 2]", "[1, 3]"),
        ("loss > RATE", "loss >= RATE"),
        ("* RATE", "/ RATE"),
        ("torch.exp(loss)", "torch.exp(-loss)"),
        ("torch.exp", "torch.log"),
        ("import torch\n", "import numpy as torch\n"),
        ("report: Callable | None = None", "report: Callable | None = print"),
        ("depth: int = 3", "depth: int = 4"),
        ("    width: int\n", "    height: int\n"),
        ("raise InputError", "raise ValueError"),
        ("    if loss > RATE:\n", "    if loss < RATE:\n        return 0.0\n    if loss > RATE:\n"),
        ("class Model:", "@final\nclass Model:"),
        ('"a model"', '"another"'),
    ],
)
def test_meaning_changes_it(monkeypatch, old, new):
    assert edited(monkeypatch, old, new)


def test_of_a_part_of_a_module_only_what_it_uses_counts(monkeypatch):
    assert not edited(monkeypatch, '"a model"', '"another"', ("train",))
    assert not edited(monkeypatch, "depth: int = 3", "depth: int = 4", ("train",))
    assert edited(monkeypatch, "RATE = 0.1", "RATE = 0.2", ("train",))


# Modules that decide no outcome: what they do is in the settings or in another fingerprint (data),
# or it is about recording, caching, counting and timing.
UNDECIDING = {
    *("__init__", "cache", "errors", "files", "paths", "data/__init__", "data/datasets"),
    *("data/headers",),
    *("data/layout/__init__", "data/layout/doubts", "data/layout/folders", "data/layout/groups"),
    *("data/layout/layers", "data/layout/listing", "data/layout/objects"),
    *("data/layout/part_columns",),
    *("data/layout/companions", "data/layout/masks", "data/layout/part_values"),
    *("data/layout/parts", "data/layout/repeats", "data/layout/sets", "data/layout/tables"),
    *("data/layout/walk",),
    *("data/names", "data/remote", "model/__init__", "model/cost"),
    *("training/__init__",),
    *("study/__init__", "study/code", "study/design", "study/plain_yaml", "study/provenance"),
    *("study/records", "study/studies", "weights"),
    *("training/checkpoints", "model/compiler"),
}


DECIDING = {name for modules in PURPOSES.values() for name in modules}


def test_each_module_decides_outcomes_or_is_known_not_to():
    undeciding = {f"effnet_core/{name}.py" for name in UNDECIDING}
    assert set(effnet_core.SOURCES) >= DECIDING
    assert not DECIDING & undeciding
    assert {n for n in effnet_core.SOURCES if n.startswith("effnet_core/")} == {
        *undeciding,
        *(name for name in DECIDING if name.startswith("effnet_core/")),
    }, "list a new module in effnet_core/study/code.py if it decides an outcome, else here"


# Of modules that decide something, what decides nothing: it tells, keeps on disk, or compares.
UNDECIDING_NAMES = {
    *("describe_duplicates", "load_images", "cached_depths", "check_same_run"),
    *("Epoch", "Heat"),
}


def parts(module: str, names: tuple[str, ...]) -> tuple[list[ast.ImportFrom], list[ast.stmt]]:
    """The imports of a module, and the definitions that count."""
    body = code._stripped(effnet_core.SOURCES[module])
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    rest = [node for node in body if node not in imports]
    return imports, code._reached(rest, names) if names else rest


@pytest.mark.parametrize("purpose", PURPOSES)
def test_what_deciding_code_imports_decides_too_or_is_known_not_to(purpose):
    modules, missing = PURPOSES[purpose], []
    for module, names in modules.items():
        imports, reached = parts(module, names)
        used = set().union(*map(code._names, reached)) - UNDECIDING_NAMES
        for node in imports:
            origin = f"{node.module.replace('.', '/')}.py"
            if origin in DECIDING:
                listed = parts(origin, modules[origin])[1] if origin in modules else []
                defined = set().union(*map(code._defines, listed))
                imported = {alias.name for alias in node.names}
                missing += [f"{name} of {origin}" for name in (imported & used) - defined]
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_number_in_any_of_its_modules_changes_a_purpose(purpose, monkeypatch):
    before = code_fingerprint(purpose)
    for module, names in PURPOSES[purpose].items():
        text = effnet_core.SOURCES[module]
        with monkeypatch.context() as patch:
            patch.setitem(effnet_core.SOURCES, module, text + b"\n# a comment\n")
            assert code_fingerprint(purpose) == before
            if not names:
                patch.setitem(effnet_core.SOURCES, module, text + b"\nEPSILON = 0.5\n")
                assert code_fingerprint(purpose) != before


def test_classical_records_name_the_code_of_the_classical_models(monkeypatch):
    name = "effnet_report/baseline/classical.py"
    before = code_fingerprint("classical"), code_fingerprint("run")
    changed = effnet_core.SOURCES[name].replace(b"FOLDS = 5", b"FOLDS = 6")
    monkeypatch.setitem(effnet_core.SOURCES, name, changed)
    assert code_fingerprint("classical") != before[0]
    assert code_fingerprint("run") == before[1]


def test_what_counts_arithmetic_or_prints_is_no_part_of_it(monkeypatch):
    before = code_fingerprint("run")
    for name, old, new in (
        ("model/cost.py", b"WORTH_KEEPING = 0.05", b"WORTH_KEEPING = 0.5"),
        ("run.py", b"at most {left:.0f} s left", b"{left:.1f} seconds left at most"),
    ):
        path = f"effnet_core/{name}"
        assert old in effnet_core.SOURCES[path]
        monkeypatch.setitem(effnet_core.SOURCES, path, effnet_core.SOURCES[path].replace(old, new))
    assert code_fingerprint("run") == before
