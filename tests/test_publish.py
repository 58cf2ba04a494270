"""What is published says nothing about the machine it was made on."""

import nbformat
import pytest

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import load_design
from effnet_report.sweep.publish import publish


@pytest.fixture
def root(own_folders, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", own_folders)
    monkeypatch.setattr(paths, "EXECUTED", own_folders / "book/runs")
    return own_folders


def test_records_and_the_first_seeds_notebooks_are_copied(root, make_record):
    design = root / "small.yml"
    design.write_text("title: As it was\nseeds: [0, 1]\nprotocol: {image_size: 32}\n")
    for seed in (0, 1):
        record, predictions = make_record(seed=seed)
        records.save(record, predictions)
        metadata = {
            "papermill": {"input_path": f"{root}/notebooks/train.ipynb", "output_path": "/x"}
        }
        notebook = nbformat.v4.new_notebook(metadata=metadata)
        paths.executed("small").mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, paths.executed("small") / f"{record.run_id}.ipynb")
    assert publish("small", first_seed=0, design=design) == (2, 1)
    design.write_text("title: As it is now\nseeds: [0, 1]\nprotocol: {image_size: 64}\n")
    assert load_design("published/small").title == "As it was"
    (copied,) = paths.executed("published/small").glob("*.ipynb")
    assert "seed0" in copied.name
    assert str(root) not in copied.read_text()
    for path in records.record_files("published/small"):
        original = paths.records("small") / path.name
        assert path.read_bytes() == original.read_bytes()
        records.load(path)


def test_nothing_is_published_beside_a_damaged_record(root, make_record):
    path = records.save(*make_record())
    path.write_text(path.read_text().replace("75.0", "95.0"))
    with pytest.raises(InputError, match="was changed after it was written"):
        publish("small", first_seed=0, design=paths.STUDIES / "quick.yml")
    assert not paths.records("published/small").exists()
