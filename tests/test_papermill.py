"""The command `papermill notebooks/train.ipynb -p freeze 2`, in the ways people start it."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from effnet_core.study.records import checksum

RECORD = "results/tiny/21-freeze5-none-plateau-seed0.json"
PREDICTIONS = "results/tiny/21-freeze5-none-plateau-seed0.predictions.csv"
WEIGHTS = "results/tiny/winner.safetensors"
NOTEBOOK = "book/runs/tiny/21-freeze5-none-plateau-seed0.ipynb"
TINY = ("papermill", "notebooks/train.ipynb", "-p", "study", "tiny", "-p", "freeze", "5")


def in_terminal(clone, *command: str) -> tuple[int, str]:
    """Exit status and output of a command whose streams are a terminal."""
    ours, theirs = pty.openpty()
    program = Path(sys.executable).with_name(command[0])
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=clone.root,
        env=clone.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 4096):
            output += chunk
    except OSError:  # Linux ends a terminal's output this way
        pass
    os.close(ours)
    return process.wait(), output.decode()


@pytest.mark.slow
def test_terminal_then_piped_then_explicit_path(clone):
    template = (clone.root / "notebooks/train.ipynb").read_bytes()

    status, output = in_terminal(clone, *TINY)
    assert status == 0, output
    assert clone.files() == {RECORD, PREDICTIONS, WEIGHTS, NOTEBOOK}
    first = json.loads((clone.root / RECORD).read_text())

    (clone.root / NOTEBOOK).unlink()
    piped = clone.run(*TINY, stdin=subprocess.PIPE)  # standard input is a FIFO, too
    assert piped.returncode == 0, piped.stderr
    assert piped.stdout == ""  # papermill alone prints the notebook as JSON
    assert clone.files() == {RECORD, PREDICTIONS, WEIGHTS, NOTEBOOK}
    assert (clone.root / "notebooks/train.ipynb").read_bytes() == template
    executed = nbformat.read(clone.root / NOTEBOOK, as_version=4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert (clone.root / NOTEBOOK).stat().st_size < 300_000

    (clone.root / NOTEBOOK).unlink()
    chosen = clone.root / "mine.ipynb"
    explicit = clone.run(TINY[0], TINY[1], str(chosen), *TINY[2:])
    assert explicit.returncode == 0, explicit.stderr
    assert chosen.is_file()
    assert clone.files() == {RECORD, PREDICTIONS, WEIGHTS}

    again = json.loads((clone.root / RECORD).read_text())
    for record in (first, again):
        del record["made"], record["checksum"]
    assert again == first  # to the bit, in another process


@pytest.mark.slow
def test_where_no_kernel_can_be_forked_a_cold_one_gives_the_same_bits(clone):
    assert clone.run(*TINY).returncode == 0
    record = (clone.root / RECORD).read_bytes()
    warm = clone.root / "effnet_report/jupyter/warm.py"
    failing = warm.read_text().replace("process.start()", 'raise OSError("no more processes")')
    warm.write_text(failing)
    cold = clone.run(*TINY)  # the run is repeated, and compared with its record
    assert cold.returncode == 0, cold.stderr
    assert "Kernels start cold, seconds later each: no more processes." in cold.stderr
    assert (clone.root / RECORD).read_bytes() == record
    assert clone.files() == {RECORD, PREDICTIONS, WEIGHTS, NOTEBOOK}


@pytest.mark.slow
@pytest.mark.fault("records to be overwritten")
def test_a_run_that_comes_out_different_keeps_the_notebook_of_its_record(clone):
    assert clone.run(*TINY).returncode == 0
    record, notebook = clone.root / RECORD, clone.root / NOTEBOOK
    executed = notebook.read_bytes()
    content = json.loads(record.read_text())
    content["outcome"]["test"]["loss"] += 1  # as if it had come out so
    record.write_text(json.dumps(content | {"checksum": checksum(content)}))

    again = clone.run(*TINY)
    assert_one_message(again, ["came out different"])
    assert notebook.read_bytes() == executed
    differs = nbformat.read(notebook.with_name(f"{notebook.name}.differs"), as_version=4)
    assert "came out different" in str(differs.cells)

    record.with_name(f"{record.name}.differs").replace(record)
    assert clone.run(*TINY).returncode == 0
    assert notebook.read_bytes() != executed
    assert not list(clone.root.glob(".cache/running/**/*.ipynb"))


def test_other_notebooks_are_papermills_own(clone):
    cells = [nbformat.v4.new_code_cell("x = 1", metadata={"tags": ["parameters"]})]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    other = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(other, clone.root / "other.ipynb")

    status, output = in_terminal(clone, "papermill", "other.ipynb")
    assert status == 2
    assert "Missing argument 'OUTPUT_PATH'" in output

    unknown = clone.run("papermill", "other.ipynb", "-p", "freze", "2")
    assert unknown.returncode == 0
    assert json.loads(unknown.stdout)["nbformat"] == 4


BAD = {
    "study": (["study", "qick"], ["no study 'qick'", "did you mean 'quick'", "elpv"]),
    "parameter": (["freze", "2"], ["no setting 'freze'", "did you mean 'freeze'", "scheduler"]),
    "freeze -1": (["freeze", "-1"], ["freeze = -1", "0"]),
    "freeze 7": (["freeze", "7"], ["freeze = 7", "6"]),
    "freeze two": (["freeze", "two"], ["freeze = 'two'", "integer"]),
    "head": (["head", "mpl"], ["head = 'mpl'", "did you mean 'mlp'"]),
    "scheduler": (["scheduler", "cosin"], ["scheduler = 'cosin'", "did you mean 'cosine'"]),
    "data set": (["dataset", "elvp"], ["dataset = 'elvp'", "did you mean 'elpv'"]),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD.keys())
def test_bad_parameter_is_refused_before_anything_starts(clone, arguments, words):
    result = clone.run("papermill", "notebooks/train.ipynb", "-p", *arguments)
    assert_one_message(result, words)
    assert clone.files() == set()


@pytest.mark.fault("names that are code")
def test_a_name_that_begins_like_papermills_own_is_no_way_to_run_code(clone, clear):
    name = "PAPERMILL_X=1;open('owned','w').write('');y"
    result = clone.run("papermill", "notebooks/train.ipynb", "-p", name, "1")
    assert_one_message(result, ["no setting", "PAPERMILL_X"])
    clear(result.stderr)
    assert not list(clone.root.rglob("owned"))


def test_parameters_of_every_kind_of_option_are_checked(clone):
    result = clone.run("papermill", "notebooks/train.ipynb", "-y", "{epoch: 3}")
    assert_one_message(result, ["no setting 'epoch'", "did you mean 'epochs'"])


RUNTIME = {
    "missing folder": (["dataset", "imagefolder", "data_dir", "nowhere"], ["nowhere", "folder"]),
    "backbone": (["backbone", "efficientnet_lite99"], ["efficientnet_lite99", "Try"]),
}


@pytest.mark.slow
@pytest.mark.parametrize(("pairs", "words"), RUNTIME.values(), ids=RUNTIME.keys())
def test_bad_input_found_by_the_run_is_one_message_too(clone, pairs, words):
    options = [word for i in range(0, len(pairs), 2) for word in ("-p", *pairs[i : i + 2])]
    result = clone.run("papermill", "notebooks/train.ipynb", *options)
    assert_one_message(result, words)
    assert not [name for name in clone.files() if name.startswith("results")]


def assert_one_message(result, words) -> None:
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]
