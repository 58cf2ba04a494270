import pandas as pd
import pytest
from bs4 import BeautifulSoup
from factories import use_folders, write_study

from effnet_core.report import evidence, html, tables
from effnet_core.study import records
from effnet_core.study.design import load_study


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)


def shown(table) -> pd.DataFrame:
    """The table as a browser shows it, all cells as text."""
    rows = BeautifulSoup(table.data, "html.parser").find_all("tr")
    cells = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in rows]
    return pd.DataFrame(cells[1:], columns=cells[0])


def published_csv(name: str) -> pd.DataFrame:
    return pd.read_csv(html.site() / "data" / f"{name}.csv")


def test_table_1_has_every_configuration_in_the_sources_order():
    write_study("quick")
    found = evidence.load("quick")
    table = tables.results(found)
    frame = shown(table)
    assert list(frame["model"].astype(int)) == list(range(1, 29))
    accuracy = [record.outcome.test.accuracy for record in found.finished]
    assert frame["test accuracy"].astype(float).tolist() == pytest.approx(accuracy, abs=0.05)
    assert table.data.count('href="runs/quick/') == 28


def test_several_seeds_are_averaged():
    write_study("elpv")
    found = evidence.load("elpv")
    row = found.configurations.query("number == 9").iloc[0]
    ours = [r.outcome.test.accuracy for r in found.finished if r.number == 9]
    assert row["seeds"] == len(ours) == 3
    assert row["accuracy"] == pytest.approx(sum(ours) / 3)


def test_missing_failed_and_damaged_runs_are_named():
    write_study("quick", skip=(5, 6))
    runs = {settings.number: settings.run_id for settings in load_study("quick").runs()}
    records.save_failure("quick", runs[6], "The disk was full.", "")
    records.record_path("quick", runs[7]).write_text("{")
    found = evidence.load("quick")
    assert [settings.number for settings in found.unfinished] == [5, 6, 7]
    why = shown(tables.missing(found)).set_index("run")["why"]
    assert why[runs[5]] == "missing"
    assert why[runs[6]] == "The disk was full."
    assert why[runs[7]] == "damaged"
    assert runs[7] in why["a damaged record"]
    cells = shown(tables.results(found)).set_index("model")["runs"]
    assert cells[["5", "6", "7"]].tolist() == [
        "seed 0: missing",
        "seed 0: failed",
        "seed 0: damaged",
    ]


def test_a_run_outside_the_design_is_left_out():
    write_study("quick")
    found = evidence.load("quick")
    extra = found.planned[0].model_copy(update={"seed": 7})
    path = records.record_path("quick", found.planned[0].run_id)
    path.rename(path.with_name(f"{extra.run_id}.json"))
    beside = records.predictions_path(path)
    beside.rename(beside.with_name(f"{extra.run_id}.predictions.csv"))
    assert [settings.number for settings in evidence.load("quick").unfinished] == [1]


def test_data_can_not_break_out_of_a_table():
    frame = pd.DataFrame({"<i>class</i>": ["<script>alert(1)</script>"]})
    table = html.table(frame, "risky", finding="<b>", caption="<u>")
    for mark in ("<script>", "<i>", "<b>", "<u>"):
        assert mark not in table.data
    assert published_csv("risky").iloc[0, 0] == "<script>alert(1)</script>"


def test_csv_holds_text_where_the_page_has_links():
    write_study("quick")
    tables.run_grid(evidence.load("quick"))
    assert published_csv("run-grid").iloc[0, 1].endswith(" %")


def test_conclusions_come_as_numbers_too():
    write_study("quick")
    tables.conclusions(evidence.load("quick"))
    data = published_csv("conclusions")
    assert len(data) == 10
    assert set(data) >= {"claim", "data", "verdict", "effect", "low", "high", "n", "method"}


def test_published_tables_are_the_sources_rows():
    assert len(shown(tables.published_results())) == 28
    values = shown(tables.published_comparison())["accuracy, %"].astype(float).tolist()
    assert values == pytest.approx([84.7, 95.9, 97.6])


def test_protocol_counts_what_differs_from_the_source():
    write_study("quick")
    frame = shown(tables.protocol(evidence.load("quick"))).set_index("setting")
    ours, theirs = (load_study(name).protocol for name in ("quick", "paper"))
    assert frame.loc["epochs", "this study"] == str(ours.epochs)
    assert frame.loc["epochs", "the source (study paper)"] == str(theirs.epochs)


def test_a_variant_of_a_study_is_read_by_its_own_name():
    assert evidence.load("published/quick").design.name == "quick"
    assert evidence.load("quick-3fa9c1").design.name == "quick"
