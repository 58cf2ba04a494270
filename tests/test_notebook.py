"""What `notebooks/train.ipynb` promises as it is stored."""

import ast

import nbformat
import pytest

from effnet_core import paths
from effnet_core.study.design import PARAMETERS, Protocol, Settings

NOTEBOOKS = [paths.TRAIN_NOTEBOOK, paths.CLASSICAL_NOTEBOOK]


def code(path) -> list[str]:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_every_setting_is_a_parameter_with_the_same_default():
    notebook = nbformat.read(paths.TRAIN_NOTEBOOK, as_version=4)
    (cell,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    right = with_every_setting(cell.source)
    assert cell.source == right, f"Put this into the cell tagged `parameters`:\n\n{right}"


def with_every_setting(source: str) -> str:
    """The cell of parameters with each setting once, at its default; comments stay."""
    lines, missing = [], dict.fromkeys(PARAMETERS)
    for line in source.splitlines():
        name, equals, rest = line.partition(" = ")
        if not equals or line.startswith("#"):
            lines.append(line)
        elif name in missing:
            del missing[name]
            _, mark, comment = rest.partition("  #")
            lines.append(f"{name} = {default(name)}{mark}{comment}")
    for name in missing:
        comment = Settings.model_fields[name].description
        lines.append(f"{name} = {default(name)}" + (f"  # {comment}" if comment else ""))
    return "\n".join(lines)


def default(name: str) -> str:
    """The default as code: None takes the study's value."""
    value = None if name in Protocol.model_fields else Settings.model_fields[name].default
    return f'"{value}"' if isinstance(value, str) else repr(value)


def test_a_wrong_cell_of_parameters_is_mended():
    wrong = '# A comment = kept\nstudy = "elpv"  # a study\nfrieze = 2\nfreeze = 2\nfreeze = 3'
    first, *rest = with_every_setting(wrong).splitlines()
    assert [first, *rest[:2]] == [
        "# A comment = kept",
        'study = "quick"  # a study',
        "freeze = None",
    ]
    assert {line.split(" = ")[0] for line in rest} == set(PARAMETERS)
    assert "head_first = None  # epochs of the head alone, at a rate of 1e-3" in "\n".join(rest)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_logic(path):
    for source in code(path):
        kinds = {type(node) for node in ast.walk(ast.parse(source))}
        assert not kinds & {ast.FunctionDef, ast.Lambda, ast.ClassDef, ast.For, ast.While}
