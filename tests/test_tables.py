import json
import re
import shutil
from html import unescape

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from factories import save_run, use_folders, write_study

from effnet_core import paths
from effnet_core.study import records
from effnet_core.study.code import code_fingerprint
from effnet_core.study.studies import load_study
from effnet_report import words
from effnet_report.evidence import failures, locations
from effnet_report.inference import analysis
from effnet_report.pages import (
    comparison,
    conclusions,
    experiment,
    images,
    methods,
    reproducibility,
    results,
    runs,
    source,
)
from effnet_report.render import html


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)


def shown(table) -> pd.DataFrame:
    """The table as a browser shows it, all cells as text."""
    rows = BeautifulSoup(table.data, "html.parser").find_all("tr")
    cells = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows]
    return pd.DataFrame(cells[1:], columns=cells[0])


def written_csv(name: str) -> pd.DataFrame:
    return pd.read_csv(html.site() / "data" / f"{name}.csv")


def test_table_1_has_every_configuration_in_the_sources_order():
    write_study("quick")
    found = analysis.load("quick")
    table = results.table_1(found)
    frame = shown(table)
    assert list(frame["no."].astype(int)) == list(range(1, 29))
    accuracy = [record.outcome.test.accuracy for record in found.evidence.finished]
    assert frame["test, %"].astype(float).tolist() == pytest.approx(accuracy, abs=0.05)
    assert table.data.count('href="runs/quick/') == 28


@pytest.mark.slow
def test_several_seeds_are_averaged():
    write_study("elpv")
    found = analysis.load("elpv")
    row = found.evidence.configurations.query("number == 9").iloc[0]
    ours = [r.outcome.test.accuracy for r in found.evidence.finished if r.number == 9]
    assert row["seeds"] == len(ours) == len(found.evidence.design.seeds) > 1
    assert row["accuracy"] == pytest.approx(sum(ours) / len(ours))


def test_missing_failed_and_damaged_runs_are_named():
    write_study("quick", skip=(5, 6))
    runs = {settings.number: settings.run_id for settings in load_study("quick").runs()}
    failures.save("quick", runs[6], "The disk was full.", "")
    records.record_path("quick", runs[7]).write_text("{")
    found = analysis.load("quick")
    assert [settings.number for settings in found.evidence.unfinished] == [5, 6, 7]
    why = shown(reproducibility.missing(found)).set_index("run")["why"]
    assert why[runs[5]] == "missing"
    assert why[runs[6]] == "The disk was full."
    assert "is not a complete JSON record" in why[runs[7]]
    cells = shown(results.table_1(found)).set_index("no.")["seeds"]
    assert cells[["5", "6", "7"]].tolist() == [
        "0: missing",
        "0: failed",
        "0: set aside",
    ]


def test_a_seed_without_any_run_is_missing_in_one_line():
    for settings in load_study("elpv").runs():
        if settings.seed < 2 and settings.number != 4:
            save_run(settings)
    frame = shown(reproducibility.missing(analysis.load("elpv")))
    runs = [s.run_id for s in load_study("elpv").runs() if s.number == 4 and s.seed < 2]
    assert frame["run"].tolist() == [*runs, "all 28 of seed 2", "all 28 of seed 3"]
    assert set(frame["why"]) == {"missing"}
    missing = reproducibility.missing(analysis.load("elpv")).data
    assert "To train them: effnet sweep elpv." in missing
    paths.records("published").mkdir()
    paths.records("elpv").rename(paths.records("published/elpv"))
    committed = reproducibility.missing(analysis.load("published/elpv")).data
    assert "cp -r results/published/elpv results/elpv, then effnet sweep elpv." in committed


def test_a_run_outside_the_design_is_left_out():
    write_study("quick")
    found = analysis.load("quick")
    extra = found.evidence.planned[0].model_copy(update={"seed": 7})
    path = records.record_path("quick", found.evidence.planned[0].run_id)
    path.rename(path.with_name(f"{extra.run_id}.json"))
    beside = records.predictions_path(path)
    beside.rename(beside.with_name(f"{extra.run_id}.predictions.csv"))
    assert [settings.number for settings in analysis.load("quick").evidence.unfinished] == [1]


def test_data_can_not_break_out_of_a_table():
    frame = pd.DataFrame({"<i>class</i>": ["<script>alert(1)</script>"]})
    table = html.table(frame, "risky", finding="<b>", caption="<u>")
    for mark in ("<script>", "<i>", "<b>", "<u>"):
        assert mark not in table.data
    assert written_csv("risky").iloc[0, 0] == "<script>alert(1)</script>"


def test_csv_holds_text_where_the_page_has_links():
    write_study("quick")
    runs.run_grid(analysis.load("quick"))
    assert written_csv("run-grid-quick").iloc[0, 1].endswith(" %")


def test_a_grid_of_runs_that_is_wider_than_a_page_is_turned():
    turned = shown(runs.run_grid(analysis.load("recipe")))
    assert list(turned) == ["configuration", "frozen stages: 0", "frozen stages: 6"]
    assert len(turned) == 2 * 3 * 2
    assert len(shown(runs.run_grid(analysis.load("quick")))) == 7


@pytest.mark.parametrize(
    ("name", "level", "said"),
    [
        ("augment", "none", "none"),
        ("norm_statistics", "pretrained", "pretrained"),
        ("head", "none", "one linear layer"),
        ("learning_rate", (1e-4, 3e-4), "the best of 1e-4 and 3e-4 on validation"),
    ],
)
def test_a_level_beside_its_factor_does_not_repeat_it(name, level, said):
    assert words.beside(name, level) == said


def test_conclusions_come_as_numbers_too():
    write_study("quick")
    conclusions.verdicts(analysis.load("quick"))
    data = written_csv("conclusions")
    assert data.groupby("data").size().to_dict() == {"source's table": 9, "this study": 9}
    wanted = {
        "claim",
        "verdict",
        "effect",
        "low",
        "high",
        "p",
        "adjusted_p",
        "error",
        "seeds",
        "images",
    }
    assert set(data) >= wanted
    judged = json.loads((html.site() / "data" / "claims.json").read_text())
    effects = data.loc[data["data"] == "this study", "effect"]
    assert effects.dropna().tolist() == pytest.approx(
        [row["effect"] for row in judged if row["effect"] is not None]
    )


def test_only_a_table_with_filters_needs_scripts():
    write_study("quick")
    found = analysis.load("quick")
    assert "<script" not in runs.run_grid(found).data
    table = results.table_1(found).data
    assert 'src="scripts/itables.js"' in table
    assert "http" not in table.split("<script", 1)[1]
    assert (html.site() / "scripts" / "itables.js").stat().st_size > 500_000


def test_runs_trained_again_are_listed(tmp_path):
    write_study("quick")
    assert "effnet verify quick" in reproducibility.verification(analysis.load("quick")).data
    a, b, c, later, *_ = [settings.run_id for settings in load_study("quick").runs()]
    content = {
        "verified": [a, b, c, later, "of another study"],
        "equal": 3,
        "within_tolerance": [c],
        "different": [b],
        "origin": {c: ["torch: 1 -> 2", "processor: x -> y"]},
        "tolerance": "near enough",
        "finished": "2026-01-01T00:00:00+00:00",
        "machine": {"processor": "a processor", "cores": "2"},
        "versions": {},
        "records": {
            run_id: records.stated_checksum(records.record_path("quick", run_id))
            for run_id in (a, b, c, later)
        },
    }
    locations.verification("quick", "first").write_text(json.dumps(content))
    made_again(later, finished="2025-01-01T00:00:01+00:00")  # an earlier time helps no forger
    table = reproducibility.verification(analysis.load("quick"))
    assert "1 of 3 repeated results" in table.data
    agreement = ["equal to the bit", "different", "within tolerance"]
    assert shown(table)["result"].tolist() == agreement
    changed = ["nothing", "nothing", "torch, processor"]
    assert shown(table)["what had changed"].tolist() == changed
    # What came out on another processor stands beside it.
    content |= {"machine": {"processor": "another", "cores": "16"}, "versions": {"torch": "2.11.0"}}
    locations.verification("quick", "second").write_text(json.dumps(content))
    table = reproducibility.verification(analysis.load("quick"))
    assert "2 of 6 repeated results" in table.data
    assert "on another with 16 cores and PyTorch 2.11.0 (2026-01-01)" in table.data
    assert shown(table)["result"].tolist() == agreement * 2
    assert shown(table)["repeated on"].tolist() == ["a processor"] * 3 + ["another"] * 3
    for name in (a, b, c):
        made_again(name, finished="2026-02-01T00:00:00Z")
    assert "effnet verify quick" in reproducibility.verification(analysis.load("quick")).data


def made_again(run_id: str, finished: str) -> None:
    """Put a record in the place of one that was verified."""
    path = records.record_path("quick", run_id)
    content = json.loads(path.read_text())
    content["made"]["finished"] = finished
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))


@pytest.mark.slow
def test_records_of_an_earlier_version_say_how_many_gave_the_same_bits_today():
    write_study("quick")
    a, b, *_ = [settings.run_id for settings in load_study("quick").runs()]
    told = reproducibility.fingerprints(analysis.load("quick")).data
    everything = len(analysis.load("quick").evidence.everything)
    earlier = f"{everything} of {everything} records were made by an earlier version"
    assert f"{earlier}; 0 of 0 repeated" in told
    content = {
        **{"verified": [a, b], "equal": 1, "within_tolerance": [], "different": [b]},
        **{"origin": {}, "tolerance": "near enough", "finished": "2026-01-01T00:00:00+00:00"},
        **{"machine": {"processor": "a processor", "cores": "2"}, "versions": {}},
        "records": {
            run_id: records.stated_checksum(records.record_path("quick", run_id))
            for run_id in (a, b)
        },
        "code": {kind: code_fingerprint(kind) for kind in ("run", "classical")},
    }
    locations.verification("quick", "first").write_text(json.dumps(content))
    told = reproducibility.fingerprints(analysis.load("quick")).data
    assert f"{earlier}; 1 of 2 repeated equal to the bit with today's code" in unescape(told)
    content["code"]["run"] = "0" * 64
    locations.verification("quick", "first").write_text(json.dumps(content))
    assert "; 0 of 0 repeated" in reproducibility.fingerprints(analysis.load("quick")).data


@pytest.mark.parametrize("text", ["", "{", "[]", '{"verified": 1}', "[" * 100_000])
def test_a_damaged_verification_is_told_on_its_page(text):
    write_study("quick")
    locations.verification("quick", "any").write_text(text)
    told = reproducibility.verification(analysis.load("quick")).data
    assert "verification-any.json is damaged. Delete it" in told


def test_figures_and_tables_name_the_command_that_remakes_them(monkeypatch):
    monkeypatch.setenv("EFFNET_STUDY", "published/elpv")
    table = html.table(pd.DataFrame({"a": [1]}), "any", finding="", caption="")
    assert "EFFNET_STUDY=published/elpv jupyter-book build book" in table.data


def test_source_tables_are_the_sources_rows():
    assert len(shown(source.table_1())) == 28
    values = shown(source.table_2())["accuracy, %"].astype(float).tolist()
    assert values == pytest.approx([84.7, 95.9, 97.6])


def test_protocol_counts_what_differs_from_the_source():
    write_study("quick")
    frame = shown(experiment.protocol(analysis.load("quick")))
    assert (frame["this study"] != frame["the source"]).all()
    frame = written_csv("protocol").set_index("setting")
    ours, theirs = (load_study(name).protocol for name in ("quick", "paper"))
    assert frame.loc["epochs", "this study"] == str(ours.epochs)
    assert frame.loc["epochs", "the source"] == str(theirs.epochs)
    differs = frame["this study"] != frame["the source"]
    assert differs.any()
    assert differs.iloc[: differs.sum()].all()


@pytest.mark.parametrize("name", ["recipe", "quick"])
def test_pages_speak_of_heads_where_a_study_compares_them(tmp_path, name):
    measured = paths.ROOT / "results" / "simulation.json"
    (tmp_path / "results").mkdir()
    shutil.copy(measured, tmp_path / "results")
    study = analysis.load(name)
    about = re.compile(r"\b(heads?|hidden_width|two linear layers|deeper)\b", re.IGNORECASE)
    for page in (experiment.protocol, experiment.definitions, methods.simulation):
        text = BeautifulSoup(page(study).data, "html.parser").get_text(" ")
        assert bool(about.search(text)) == (name == "quick"), page
    said = BeautifulSoup(experiment.definitions(study).data, "html.parser").get_text()
    plateau = "plateau" in said
    assert plateau == (name == "quick")
    settings = set(written_csv("protocol")["setting"])
    assert ("plateau_factor" in settings) == ("dropout" in settings) == (name == "quick")
    rows = shown(methods.simulation(study))["claim"].tolist()
    assert ("cosine" in rows) == (name == "quick")
    assert ("pretrained statistics" in rows) == (name == "recipe")
    assert {"freeze 6", "all choices", "trend"} <= set(rows)


def test_the_page_images_says_how_many_planted_errors_an_audit_finds(tmp_path):
    write_study("quick")
    study = analysis.load("quick")
    assert images.planted(study).data == ""
    folder = tmp_path / "results"
    folder.mkdir(exist_ok=True)
    shutil.copy(paths.ROOT / "results" / "audit.json", folder)
    measured = json.loads((folder / "audit.json").read_text())["elpv"]
    text = images.planted(study).data
    for share in ("precision", "one_run_precision", "suspected_recall"):
        assert f"{100 * measured[share]:.0f} %" in text.replace("\xa0", " ")


@pytest.mark.fault("studies that are named alike")
def test_a_variant_of_a_study_is_read_by_its_own_name():
    assert analysis.load("published/quick").evidence.design.name == "quick"
    assert analysis.load("quick~3fa9c1d02b7e").evidence.design.name == "quick"


def test_links_stay_links_where_pyarrow_is_installed(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="the extra `formats` is not installed")
    use_folders(tmp_path, monkeypatch)
    write_study("quick")
    for made in (runs.run_grid, results.table_1, conclusions.verdicts):
        assert "&lt;" not in made(analysis.load("quick")).data


def test_a_failed_classical_run_is_on_the_page_with_its_reason(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick", classical=False)
    failures.save("quick", "classical-seed0", "Out of memory.", "")
    page = reproducibility.missing(analysis.load("quick")).data
    assert "classical-seed0" in page
    assert "Out of memory." in page
    compared = comparison.candidates(analysis.load("quick")).data
    assert "classical-seed0 has failed: Out of memory." in compared
    assert "Start the runs" not in compared
