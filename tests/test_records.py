import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import even_metrics, read_all, train
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from effnet_core import paths, run
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.records import checksum, load, load_predictions, save
from effnet_core.study.schema import Record
from effnet_report.evidence import failures
from effnet_report.evidence.predictions import parse

# Each example writes over the files of the one before, so they may share a folder.
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
percentages = st.floats(0, 100)
seeds = st.integers(0, 2**32 - 1)
# Of what file names may hold, all but control characters, which CSV readers take for line ends.
file_names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\0"), min_size=1
).map(lambda text: f"class/{text}")


@shared_folder
@given(
    accuracy=percentages, freeze=st.integers(0, 6), seed=st.integers(0, 2**32 - 1), image=file_names
)
def test_a_record_comes_back_as_it_was(*, own_folders, make_record, accuracy, freeze, seed, image):
    record, predictions = make_record(accuracy, image, freeze=freeze, seed=seed)
    records.record_path(record.settings.study, record.run_id).unlink(missing_ok=True)
    path = save(record, predictions)
    assert load(path) == record
    rows = load_predictions(path)
    assert list(rows["image"]) == [image, "b/2.png"]
    assert list(rows["confidence"]) == [0.9, 0.6]


def test_a_record_has_its_place_and_nothing_else_is_left(own_folders, make_record):
    path = save(*make_record(freeze=2))
    assert path == own_folders / "results/small/09-freeze2-none-plateau-seed0.json"
    assert {file.name for file in path.parent.iterdir()} == {
        "09-freeze2-none-plateau-seed0.json",
        "09-freeze2-none-plateau-seed0.predictions.csv",
    }


def test_equal_records_are_equal_files(own_folders, make_record):
    first = save(*make_record()).read_bytes()
    assert save(*make_record()).read_bytes() == first


def test_no_number_of_a_record_is_infinite():
    with pytest.raises(ValidationError, match="finite"):
        even_metrics(75.0, loss=float("nan"))


def test_a_record_of_other_predictions_is_not_written(own_folders, make_record):
    record, predictions = make_record()
    with pytest.raises(ValueError, match="do not have the checksum"):
        save(record, predictions + b"\n")
    assert not paths.RESULTS.exists()


@shared_folder
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_half_written_record_is_refused(own_folders, make_record, share):
    path = save(*make_record())
    whole = path.read_bytes().rstrip()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"plateau-seed0\.json is damaged.*repeat the run"):
        load(path)


@pytest.mark.parametrize("text", ["", "[]", "1", "null", '"x"', "\xff"])
def test_a_file_that_is_no_record_is_refused(own_folders, make_record, text):
    path = save(*make_record())
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match="is damaged"):
        load(path)


@pytest.mark.fault("forged records")
def test_every_number_edited_by_hand_is_noticed(own_folders, make_record):
    path = save(*make_record(accuracy=61.5))
    text = path.read_text()
    assert text.count("61.5") > 5
    start = text.find("61.5")
    while start >= 0:
        path.write_text(text[:start] + "91.5" + text[start + 4 :])
        with pytest.raises(InputError, match=r"changed after it was written.*restore it"):
            load(path)
        start = text.find("61.5", start + 1)


@pytest.mark.fault("forged records")
@pytest.mark.parametrize("change", [{"number": -1}, {"schema_version": 2}, {"extra": 1}])
def test_a_record_of_another_form_is_refused_even_with_a_right_checksum(
    own_folders, make_record, change
):
    path = save(*make_record())
    content = json.loads(path.read_text()) | change
    path.write_text(json.dumps(content | {"checksum": checksum(content)}))
    with pytest.raises(InputError, match=f"not a valid record: {next(iter(change))}"):
        load(path)


@pytest.mark.fault("forged records")
def test_a_copy_under_another_name_does_not_count_twice(own_folders, make_record):
    path = save(*make_record())
    path.with_name("copy-seed0.json").write_bytes(path.read_bytes())
    found, damaged = read_all("small")
    assert len(found) == 1
    assert len(damaged) == 1
    assert "copy-seed0.json" in damaged[0]


@pytest.mark.fault("forged records")
@pytest.mark.parametrize("changed", [None, b"part,image,label,predicted,confidence\n"])
def test_changed_or_missing_predictions_are_noticed(own_folders, make_record, changed):
    path = save(*make_record())
    beside = records.predictions_path(path)
    beside.unlink() if changed is None else beside.write_bytes(changed)
    for read in (load, load_predictions):
        with pytest.raises(InputError, match=r"predictions\.csv is missing or was changed"):
            read(path)


def test_the_predictions_file_has_its_columns_whatever_the_table_holds():
    columns = [*records.PREDICTION_COLUMNS[::-1], "more"]
    table = pd.DataFrame([(0.12345678, 1, 0, "x", "test", 5)], columns=columns)
    text = "part,image,label,predicted,confidence\ntest,x,0,1,0.123457\n"
    assert records.predictions_csv(table) == text.encode()


def test_the_labels_probability_is_kept_and_costs_no_room(own_folders, make_record):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet([3.0, 0.5], 500)
    labels = np.repeat([0, 0, 0, 0, 1], 100)
    table = pd.DataFrame(
        {
            "part": "test",
            "image": [f"images/cell{n:04}.png" for n in range(500)],
            "label": labels,
            "predicted": probabilities.argmax(axis=1),
            "confidence": probabilities.max(axis=1),
            "label_probability": probabilities[np.arange(500), labels],
        }
    )
    data = records.predictions_csv(table)
    older = records.predictions_csv(table[records.PREDICTION_COLUMNS])
    assert len(data) < 1.01 * len(older)
    for content in (data, older):
        found = parse(content)
        assert found.labels.tolist() == table["label"].tolist()
        assert found.predicted.tolist() == table["predicted"].tolist()
    assert parse(data).images == parse(older).images
    record, _ = make_record()
    record = record.model_copy(update={"predictions": hashlib.sha256(data).hexdigest()})
    read = load_predictions(save(record, data))
    assert np.allclose(read["label_probability"], table["label_probability"], rtol=5e-4)
    assert np.allclose(read["confidence"], table["confidence"], rtol=5e-4)


@pytest.mark.fault("forged records")
@pytest.mark.parametrize(
    "line",
    ["test,a,0,0,0.9,0.9", "test,a,0,1,0.9,", "test,a,0,1,0.9", "test,a,0,1,,0.9", "test,a,0,1"],
)
def test_predictions_whose_probabilities_do_not_fit_are_refused(line):
    header = ",".join([*records.PREDICTION_COLUMNS, records.LABEL_PROBABILITY])
    with pytest.raises(ValueError, match=r"label|number"):
        parse(f"{header}\n{line}\n".encode())


@pytest.mark.slow
def test_a_run_is_compared_with_an_older_record_in_its_form(own_folders):
    new = train()
    path = records.record_path(new.settings.study, new.run_id)
    beside = records.predictions_path(path)
    assert beside.read_text().startswith("part,image,label,predicted,confidence,label_probability")
    probabilities = load_predictions(path)
    again, data = run.repeat(new.settings)
    assert (again.predictions, data) == (new.predictions, beside.read_bytes())
    older = records.predictions_csv(probabilities[records.PREDICTION_COLUMNS])
    beside.write_bytes(older)
    again, data = run.repeat(new.settings)
    assert data.startswith(",".join(records.PREDICTION_COLUMNS).encode() + b"\n")
    assert again.predictions != new.predictions


def test_damaged_records_are_told_and_not_counted(own_folders, make_record):
    whole = save(*make_record(freeze=0))
    half = save(*make_record(freeze=1))
    half.write_bytes(half.read_bytes()[:100])
    found, damaged = read_all("small")
    assert [record.run_id for record in found] == [whole.stem]
    assert len(damaged) == 1
    assert half.name in damaged[0]


def test_a_published_study_is_read_from_its_own_folder(own_folders, make_record):
    path = save(*make_record())
    published = paths.records("published/small")
    published.parent.mkdir(parents=True)
    path.parent.rename(published)
    assert [record.run_id for record in read_all("published/small")[0]] == [path.stem]
    assert read_all("small") == ([], [])


def test_a_file_in_place_of_the_results_folder_is_told(own_folders, make_record):
    paths.RESULTS.write_text("in the way")
    with pytest.raises(InputError, match=r"Cannot write .*results.*: .*Move the file away"):
        save(*make_record())
    assert paths.RESULTS.read_text() == "in the way"


def test_a_full_disk_leaves_no_half_record(own_folders, make_record, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"No space left.*free some space"):
        save(*make_record())
    assert list(paths.records("small").iterdir()) == []


def test_a_failure_is_noted_until_the_run_succeeds(own_folders, make_record):
    record, predictions = make_record()
    failures.save("small", record.run_id, "out of memory", "runs/x.ipynb")
    assert failures.load("small") == {record.run_id: "out of memory"}
    assert read_all("small") == ([], [])
    save(record, predictions)
    assert failures.load("small") == {}


def test_a_record_is_written_once(own_folders, make_record):
    path = save(*make_record())
    before = path.read_bytes()
    record, predictions = make_record()
    later = record.made.model_copy(update={"finished": "2027-01-01T00:00:00+00:00"})
    assert save(record.model_copy(update={"made": later}), predictions) == path
    assert path.read_bytes() == before


@pytest.mark.fault("records to be overwritten")
def test_a_run_that_comes_out_different_keeps_both(own_folders, make_record):
    path = save(*make_record(75.0))
    before = path.read_bytes()
    record, predictions = make_record(80.0, image="a/other.png")
    checkpoint = paths.checkpoint("small", record.run_id)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    with pytest.raises(InputError, match=r"differs from its record.*json\.differs.*cache --clear"):
        save(record, predictions)
    assert path.read_bytes() == before
    assert not checkpoint.exists()  # or the run would come out different for ever
    assert json.loads(path.with_name(f"{path.name}.differs").read_text())["outcome"] == (
        record.outcome.model_dump()
    )
    beside = records.predictions_path(path)
    assert beside.with_name(f"{beside.name}.differs").read_bytes() == predictions
    with pytest.raises(InputError, match=r"json\.differs2"):
        save(*make_record(85.0))
    assert beside.with_name(f"{beside.name}.differs").read_bytes() == predictions
    assert read_all("small") == ([load(path)], [])


@pytest.mark.fault("records to be overwritten")
def test_a_record_of_other_settings_is_never_overwritten(own_folders, make_record):
    path = save(*make_record(epochs=2))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"other settings: epochs 2 -> 3.*another name"):
        save(*make_record(epochs=3))
    assert path.read_bytes() == before
    assert save(*make_record(epochs=2, cache_gb=0.0)) == path  # decides how fast, not what


def test_a_damaged_record_is_set_aside_before_the_run_is_recorded_again(own_folders, make_record):
    path = save(*make_record())
    path.write_text("{")
    assert load(save(*make_record())).run_id == path.stem
    assert path.with_name(f"{path.name}.damaged").read_text() == "{"
    path.write_text("[")
    save(*make_record())
    assert path.with_name(f"{path.name}.damaged").read_text() == "{"
    assert path.with_name(f"{path.name}.damaged2").read_text() == "["


@pytest.mark.parametrize("change", [{"run_id": "02-freeze0-none-cosine-seed0"}, {"number": 3}])
def test_a_record_is_named_as_its_settings_say(make_record, change):
    record, _ = make_record()
    with pytest.raises(ValidationError, match="does not fit the settings"):
        Record.model_validate(record.model_dump() | change)


def test_a_record_that_cannot_be_read_is_not_set_aside_as_damaged(tmp_path, monkeypatch):
    path = tmp_path / "01-seed0.json"
    path.write_text("{}")

    def denied(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(InputError, match=r"Cannot read .*01-seed0\.json"):
        records.set_aside(path)
    assert path.is_file()
