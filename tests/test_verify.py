"""Repeating finished runs: what agrees, what does not, and what is said about it."""

import json
from dataclasses import replace

import numpy as np
import pytest
from factories import SMALL, SMALL_GRID, read_all, train, train_classical, use_folders, write_study
from typer.testing import CliRunner

from effnet_core import cache, paths, run
from effnet_core.data.datasets import digits
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.studies import load_study
from effnet_report import cli
from effnet_report.baseline import classical
from effnet_report.evidence import locations
from effnet_report.publishing import verify


def forged(record, predictions_of, **changes):
    """Save a record that says something else, with right checksums."""
    metrics = record.outcome.test.model_copy(update=changes)
    outcome = record.outcome.model_copy(update={"test": metrics})
    other = record.model_copy(update={"outcome": outcome})
    predictions_of.unlink()
    records.save(other, records.predictions_path(predictions_of).read_bytes())
    return other


def test_a_repeated_run_is_equal_and_this_is_written_down(trained):
    study = trained.settings.study
    (compared,) = verify.verify(study, [trained.run_id], None, lambda _: None)
    assert compared.agreement == "equal"
    written = json.loads(verify.here(study).read_text())
    assert written["verified"] == [trained.run_id]
    assert (written["equal"], written["different"]) == (1, [])
    assert written["versions"] == trained.made.versions
    assert read_all(study) == ([trained], [])  # it is no record itself


@pytest.mark.slow
def test_several_are_repeated_side_by_side(trained):
    other = train(freeze=5)
    told, reported = [], []
    compared = verify.verify(trained.settings.study, [], None, reported.append, told.append, jobs=2)
    assert reported == compared
    assert len(told) == 2
    assert {one.run_id: one.agreement for one in compared} == {
        trained.run_id: "equal",
        other.run_id: "equal",
    }


@pytest.mark.slow
@pytest.mark.fault("forged records")
def test_a_forged_record_is_found_out(trained):
    path = records.record_path(trained.settings.study, trained.run_id)
    forged(trained, path, loss=0.001)  # predictions do not tell the loss
    (compared,) = verify.verify(trained.settings.study, [], 1, lambda _: None)
    assert compared.agreement == "different"
    written = json.loads(verify.here(trained.settings.study).read_text())
    assert written["different"] == [trained.run_id]


@pytest.mark.slow
def test_kept_activations_are_not_believed(trained):
    for path in (paths.CACHE / "prefix").glob("*.npy"):
        rows = np.load(path, mmap_mode="r+")
        checksums = np.load(cache.checksums_path(path), mmap_mode="r+")
        rows[:] += 1
        checksums[:] = [cache.checksum(row) for row in rows]
    (compared,) = verify.verify(trained.settings.study, [trained.run_id], None, lambda _: None)
    assert compared.agreement == "equal"
    with pytest.raises(InputError, match=r"differs from its record|after it was evaluated"):
        train()  # it would have been believed


@pytest.mark.slow
@pytest.mark.fault("forged caches")
def test_decoded_images_that_are_kept_are_not_believed(own_folders):
    """A record that was trained on swapped pixels, under the right fingerprint of its data."""
    dataset = digits()
    run.load_data(run.begin_again(run.read_settings(SMALL)))
    (path,) = (paths.CACHE / "images").glob("*.npy")
    images = np.load(path, mmap_mode="r+")
    checksums = np.load(cache.checksums_path(path), mmap_mode="r+")
    images[:] = images[::-1].copy()
    checksums[:] = [cache.checksum(image) for image in images]
    poisoned = train()
    assert poisoned.fingerprints.data == dataset.fingerprint
    (compared,) = verify.verify(poisoned.settings.study, [poisoned.run_id], None, lambda _: None)
    assert compared.agreement == "different"
    assert not list((paths.CACHE / "verifying").iterdir())


@pytest.mark.slow
def test_classical_results_are_repeated_too(own_folders, monkeypatch):
    monkeypatch.setattr(classical, "grid", lambda: SMALL_GRID)
    _, best = train_classical()
    study = best.settings.study
    compared = verify.verify(study, [], None, lambda _: None)
    assert {one.run_id: one.agreement for one in compared} == {
        "baseline-seed0": "equal",
        "classical-seed0": "equal",
    }
    path = records.record_path(study, best.run_id)
    forged(best, path, loss=0.001)
    (found,) = verify.verify(study, [best.run_id], None, lambda _: None)
    assert found.agreement == "different"


@pytest.mark.slow
@pytest.mark.fault("forged records")
def test_strict_fails_unless_all_are_equal_whatever_excuses_a_difference(trained):
    study = trained.settings.study

    def status(*options: str) -> int:
        return CliRunner().invoke(cli.app, ["verify", study, *options]).exit_code

    assert status("--strict") == 0
    newer = trained.made.model_copy(update={"versions": trained.made.versions | {"torch": "9"}})
    path = records.record_path(study, trained.run_id)
    forged(trained.model_copy(update={"made": newer}), path, loss=0.001)
    assert (status(), status("--strict")) == (0, 1)


def test_tolerance_is_for_other_machines_and_versions_only(trained):
    accuracy = trained.outcome.test.accuracy
    near = trained.outcome.test.model_copy(update={"loss": trained.outcome.test.loss + 1e-6})
    again = trained.model_copy(
        update={"outcome": trained.outcome.model_copy(update={"test": near})}
    )
    assert verify.compare(trained, again, "c").agreement == "different"
    newer = trained.made.model_copy(update={"versions": trained.made.versions | {"torch": "9"}})
    compared = verify.compare(trained, again.model_copy(update={"made": newer}), "c")
    assert compared.agreement == "within tolerance"
    assert compared.origin == [f"torch: {trained.made.versions['torch']} -> 9"]
    assert compared.accuracy == (accuracy, accuracy)
    other_data = trained.fingerprints.model_copy(update={"data": "0" * 64})
    moved = again.model_copy(update={"made": newer, "fingerprints": other_data})
    assert verify.compare(trained, moved, "c").agreement == "different"


@pytest.mark.parametrize(("study", "run_id"), [("../x", None), ("quick-none", None), (None, "x")])
def test_an_unknown_study_or_run_is_told(trained, study, run_id):
    with pytest.raises(InputError, match=r"No records of|no run"):
        verify.verify(
            study or trained.settings.study, [run_id] if run_id else [], None, lambda _: None
        )


def test_what_can_be_expected_is_said_before(trained):
    assert verify.expectation(trained) == "it has to come out equal to the bit."
    elsewhere = {"made": trained.made.model_copy(update={"hardware": {"processor": "a PDP-11"}})}
    assert "because these differ from the record: processor" in verify.expectation(
        trained.model_copy(update=elsewhere)
    )
    other = trained.fingerprints.model_copy(update={"code": "0" * 64})
    changed = trained.model_copy(update={"fingerprints": other})
    assert "because these differ from the record: code" in verify.expectation(changed)


def test_with_portable_instructions_another_processor_is_no_excuse(trained):
    machine = trained.made.hardware | {"processor": "Another", "model": "1"}
    portable = trained.settings
    native = portable.model_copy(update={"instructions": "native"})
    here = trained.made.hardware
    assert verify.computed_by(portable, machine) == verify.computed_by(portable, here)
    assert verify.computed_by(native, machine) != verify.computed_by(native, here)


def compared(agreement, seconds=(10.0, 10.0)) -> verify.Comparison:
    return verify.Comparison("x", "c", [], agreement, (80.0, 81.25), seconds)


@pytest.mark.fault("forged records")
def test_times_that_do_not_fit_the_others_are_implausible():
    """The other machine is three times as fast: that is no forgery, and what exceeds it is."""
    others = [compared("equal", (3 * again, again)) for again in (40.0, 20.0, 30.0)]
    assert verify.implausible(others) == []
    for recorded, plausible in ((20.0, False), (25.0, True), (350.0, True), (400.0, False)):
        one = compared("equal", (recorded, 30.0))
        assert verify.implausible([*others, one]) == ([] if plausible else [one])
    short = compared("equal", (1.0, 0.1))  # such times scatter
    assert verify.implausible([*others, short]) == []
    assert verify.implausible([compared("equal", (900.0, 1.0))]) == []  # nothing to compare with


@pytest.mark.slow
@pytest.mark.fault("forged records")
def test_strict_counts_a_forged_time(trained, monkeypatch):
    monkeypatch.setattr(verify, "SCATTER", 0.0)
    monkeypatch.setattr(verify, "PLAUSIBLE", 20.0)  # these runs take a second
    for freeze in (5, 4):
        train(freeze=freeze)
    study = trained.settings.study
    path = records.record_path(study, trained.run_id)
    content = json.loads(path.read_text())
    times = content["made"]["cpu_seconds"]
    content["made"]["cpu_seconds"] = {phase: 1000 * time for phase, time in times.items()}
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    invoked = CliRunner().invoke(cli.app, ["verify", study, "--strict"])
    assert invoked.exit_code == 1
    assert f"{trained.run_id}: its recorded training time" in " ".join(invoked.output.split())
    assert json.loads(verify.here(study).read_text())["implausible"] == [trained.run_id]


def test_the_records_hashes_decide_the_sample(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick")
    first = [r.run_id for r in verify._chosen("quick", [], 3)]
    assert first == [r.run_id for r in verify._chosen("quick", [], 3)]
    drawn = set()
    run_id = next(load_study("quick").runs()).run_id
    path = records.record_path("quick", run_id)
    for megabytes in range(5):
        content = json.loads(path.read_text())
        content["made"]["peak_memory_mb"] = megabytes
        path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
        drawn.add(tuple(r.run_id for r in verify._chosen("quick", [], 3)))
    assert len(drawn) > 1


def test_verdicts_name_the_distance():
    def verdict(agreement):
        return compared(agreement).verdict

    assert verdict("equal") == "equal to the bit"
    assert verdict("within tolerance").startswith("different as expected, by +1.25 points")
    assert verdict("different").startswith("different against expectation, by +1.25 points")


@pytest.mark.parametrize(
    ("came_out", "said"),
    [
        (["equal"], "The repeated run came out equal to the bit."),
        (["equal"] * 3, "All 3 repeated runs came out equal to the bit."),
        (
            ["equal", "different", "within tolerance"],
            "Of the repeated runs, 1 came out equal to the bit, 1 came out different, as expected "
            "with other code, versions or machine, which confirms the accuracy only roughly, 1 "
            "came out different, which code, versions and machine do not explain.",
        ),
        (
            ["different"] * 2,
            "Of the repeated runs, 2 came out different, which code, versions and machine do not "
            "explain.",
        ),
    ],
)
def test_one_sentence_says_what_came_out(came_out, said):
    assert verify.summary([compared(agreement) for agreement in came_out]) == said


@pytest.mark.slow
def test_a_reader_who_verifies_published_records_changes_nothing_in_git(trained):
    study = trained.settings.study
    published = paths.records(f"published/{study}")
    published.parent.mkdir()
    paths.records(study).rename(published)
    before = {path: path.read_bytes() for path in published.iterdir() if path.is_file()}

    def done(*options: str) -> str:
        invoked = CliRunner().invoke(cli.app, ["verify", f"published/{study}", *options])
        assert invoked.exit_code == 0, invoked.output
        return " ".join(invoked.output.split())

    assert "The repeated run came out equal to the bit. Details: " in done()
    assert {path: path.read_bytes() for path in published.iterdir() if path.is_file()} == before
    verdict = locations.verified_here(f"published/{study}").read_text()
    assert json.loads(verdict)["verified"] == [trained.run_id]
    done("--publish")
    assert verify.here(f"published/{study}").is_file()


@pytest.mark.fault("forged records")
def test_forged_facts_are_found_out(trained):
    path = records.record_path(trained.settings.study, trained.run_id)
    names = ("trainable_parameters", "total_parameters")
    more = {name: getattr(trained.facts, name) + 5 for name in names}
    facts = trained.facts.model_copy(update=more)
    path.unlink()
    other = trained.model_copy(update={"facts": facts})
    records.save(other, records.predictions_path(path).read_bytes())
    (found,) = verify.verify(trained.settings.study, [], None, lambda _: None)
    assert found.agreement == "different"


@pytest.mark.parametrize("changed", [None, "code", "versions", "machine"])
def test_repeating_some_runs_keeps_the_verdicts_on_the_others(tmp_path, changed):
    output = tmp_path / "verification.json"

    def verdict(run_id: str, agreement: verify.Agreement) -> verify.Comparison:
        return replace(compared(agreement), run_id=run_id, origin=["torch: 1 -> 2"])

    verify._write(output, [verdict("a", "equal"), verdict("b", "different")])
    if changed:
        content = json.loads(output.read_text())
        output.write_text(json.dumps(content | {changed: {"other": "than now"}}))
    verify._write(output, [verdict("b", "equal"), verdict("c", "within tolerance")])
    content = json.loads(output.read_text())
    assert content["verified"] == (["b", "c"] if changed else ["a", "b", "c"])
    assert content["equal"] == (1 if changed else 2)
    assert (content["different"], content["within_tolerance"]) == ([], ["c"])
    assert set(content["origin"]) == set(content["records"]) == set(content["verified"])
    output.write_text("[1]")
    verify._write(output, [verdict("a", "equal")])
    assert json.loads(output.read_text())["verified"] == ["a"]
