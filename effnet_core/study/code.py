"""A fingerprint of the meaning of the code, equal as long as the parsed code is equal.

Formatting, comments, docstrings, type hints, printed lines and error messages do not change it;
a number, an operator or another argument does.

The search for images and their classes is left out, because the fingerprint of the data covers its
result. Counting arithmetic, timing, caching and recording are left out, because they decide no
outcome.
"""

import ast
import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

from effnet_core import SOURCES

# Modules that decide an outcome, by purpose. Names restrict a module to these definitions and the
# definitions that they use; an empty tuple takes the whole module.
Modules = dict[str, tuple[str, ...]]
IMAGES: Modules = {
    "effnet_core/data/images.py": ("decode",),
    "effnet_core/data/formats.py": ("check_whole", "open_image", "upright"),
}
ACTIVATIONS: Modules = IMAGES | {
    "effnet_core/data/augment.py": ("show",),
    "effnet_core/processor.py": ("use",),
    "effnet_core/model/backbones.py": (),
    "effnet_core/model/convolutions.py": (),
    "effnet_core/model/freezing.py": (),
    "effnet_core/model/prefix.py": ("Pixels", "frozen_boundary"),
    "effnet_core/training/determinism.py": (),
}
SPLIT: Modules = {
    "effnet_core/data/duplicates.py": ("first_of_equals",),
    "effnet_core/data/splits.py": (),
}
RUN: Modules = (
    ACTIVATIONS
    | SPLIT
    | {
        "effnet_core/data/augment.py": (),
        "effnet_core/model/heads.py": (),
        "effnet_core/model/prefix.py": ("Pixels", "Remembered", "frozen_boundary"),
        "effnet_core/run.py": ("load_data", "build_model", "_fit", "evaluate_parts"),
        "effnet_core/study/schema.py": ("Metrics",),
        "effnet_core/training/evaluate.py": (),
        "effnet_core/training/fit.py": (),
        "effnet_core/training/race.py": (),
        "effnet_core/training/schedules.py": (),
        "effnet_core/training/state.py": (),
    }
)
CLASSICAL: Modules = (
    ACTIVATIONS
    | SPLIT
    | {
        "effnet_core/run.py": ("load_data",),
        "effnet_core/study/schema.py": ("Metrics", "Candidate", "Chosen"),
        "effnet_core/training/evaluate.py": (),
        "effnet_report/baseline/classical.py": ("BASELINE", "compare", "grid"),
    }
)
PURPOSES: dict[str, Modules] = {
    "images": IMAGES,
    "activations": ACTIVATIONS,
    "run": RUN,
    "classical": CLASSICAL,
}


def code_fingerprint(purpose: str) -> str:
    """sha256 over the meaning of the modules of a purpose, as of their import.

    Args:
        purpose: `images` (decoding), `activations` (of the frozen stages), `run`, or `classical`
            (records of the baseline and of the best classical model).
    """
    digest = hashlib.sha256()
    for module, names in sorted(PURPOSES[purpose].items()):
        digest.update(f"{module}\0{meaning(SOURCES[module], names)}\0".encode())
    return digest.hexdigest()


@cache
def meaning(source: bytes, names: tuple[str, ...]) -> str:
    """The code of a module, or of some of its definitions, in a canonical form."""
    body = _stripped(source)
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    code = [node for node in body if node not in imports]
    if names:
        code = _reached(code, names)
    used = set(chain.from_iterable(map(_names, code)))
    return "\n".join([*sorted(_imported(imports, used)), *map(_text, code)])


@cache
def _stripped(source: bytes) -> list[ast.stmt]:
    return _Stripped().visit(ast.parse(source)).body


class _Stripped(ast.NodeTransformer):
    """Removes docstrings, type hints, printed lines and the wording of errors from a tree."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if isinstance(body := getattr(node, "body", None), list):
            node.body = body or [ast.Pass()]  # type: ignore[attr-defined]
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(node.arg)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Keep name and value of an annotated field; only its type hint goes."""
        for line in node.body:
            if isinstance(line, ast.AnnAssign):
                line.annotation = ast.Constant(_FIELD)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if _is_constant(node.annotation, _FIELD):
            return self.generic_visit(node)
        if node.value is None:
            return None
        return self.visit(ast.Assign([node.target], node.value))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove docstrings and printed lines."""
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text or _calls(node.value, "print") else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | None:
        only_hints = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if only_hints else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Keep the class of an error, which decides who catches it, and remove its message."""
        return ast.Raise(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Remove printed text, messages of errors and descriptions of fields."""
        if _calls(node, "Field"):
            node.keywords = [word for word in node.keywords if word.arg != "description"]
        if _calls(node, "print") or _calls(node, "InputError"):
            return node.func
        return self.generic_visit(node)


_FIELD = "a field"


def _is_constant(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _reached(code: list[ast.stmt], names: tuple[str, ...]) -> list[ast.stmt]:
    """The definitions of some names and of everything they use in the module, in its order."""
    defined = {name: node for node in code for name in _defines(node)}
    reached, ahead = set[str](), list(names)
    while ahead:
        name = ahead.pop()
        reached.add(name)
        ahead += (_names(defined[name]) & defined.keys()) - reached
    return [node for node in code if reached & _defines(node)]


def _defines(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else []
    return set(chain.from_iterable(map(_names, targets)))


def _names(node: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def _imported(imports: Sequence[ast.Import | ast.ImportFrom], used: set[str]) -> Iterator[str]:
    """The origin of each imported name that is used; imports for type hints are left out."""
    for node in imports:
        origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        for alias in node.names:
            name = alias.asname or alias.name.split(".")[0]
            if name in used:
                yield f"{origin}{alias.name} as {name}"


def _text(node: object) -> str:
    """A tree as text, without line numbers and empty fields.

    The output of Python's own `ast.dump` depends on the version of Python.
    """
    if isinstance(node, list):
        return f"[{','.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
    return f"{type(node).__name__}({','.join(f'{name}={_text(value)}' for name, value in fields)})"
