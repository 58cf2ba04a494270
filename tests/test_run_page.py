"""The pictures of a run's own page: the same renderer as the book's, and whole without it."""

import base64
import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from factories import use_folders, write_study

from effnet_core.study.schema import Heat, Stage
from effnet_report.inference import analysis
from effnet_report.pages import images, run_page


class Picture(HTMLParser):
    """Source and words of the first picture."""

    source = alt = ""

    def handle_starttag(self, tag, attributes):
        if tag == "img" and not self.source:
            self.source, self.alt = (dict(attributes)[name] for name in ("src", "alt"))


def picture(shown):
    found = Picture()
    found.feed(shown.data)
    return found


def letters(shown):
    """The words in a drawing that stands inside the page."""
    kind, _, data = picture(shown).source.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return re.findall(r"<text[^>]*>([^<]*)</text>", base64.b64decode(data).decode())


def test_a_run_and_the_book_show_the_same_confusions(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    write_study("quick")
    found = analysis.load("quick")
    (best,) = found.evidence.best
    table = found.evidence.predictions(best)
    shown = run_page.confusion_matrix(
        table["label"].to_numpy(), table["predicted"].to_numpy(), best.facts.classes
    )
    book = re.search('aria-label="(.*?)"', images.confusion(found).data)[1]
    book = html.unescape(book)
    assert "taken for" in book
    assert picture(shown).alt.endswith(f". {book}")
    right = round(best.outcome.test.accuracy / 100 * best.outcome.test.images)
    assert f"{right} of {len(table)} test images are right" in shown.data


def test_the_page_shows_the_race_and_the_recipe(make_settings, make_record):
    record, _ = make_record()
    history = record.outcome.history
    assert "race" not in run_page.learning_curves(history, 1).data
    race = [
        Heat(learning_rate=3e-5, validation_loss=0.612),
        Heat(learning_rate=1.0, validation_loss=None),
    ]
    shown = run_page.learning_curves(history, 1, race).data
    assert all(words in shown for words in ("3e-05", "0.612", "diverged"))
    usual = run_page.summary(make_settings(), []).data
    settings = make_settings(learning_rate=[3e-5, 1e-4, 3e-4], augment="flips", layer_decay=0.8)
    other = run_page.summary(settings, []).data
    assert "the best of 3e-05, 0.0001 and 0.0003" in other
    assert "; flips; layer-wise rate decay 0.8." in other
    assert ";" not in usual.split("Adam at")[1]


@pytest.mark.parametrize("classes", [20, 21, 300])
def test_of_many_classes_the_confusions_are_listed(classes):
    labels = np.arange(classes).repeat(2)
    predicted = labels.copy()
    predicted[:6] = [1, 1, 1, 2, 2, 2]  # class 0 twice for 1, 1 once for 2, 2 right
    shown = run_page.confusion_matrix(labels, predicted, [f"class {n}" for n in range(classes)])
    words = letters(shown)
    listed = ["class 1 → class 2", "class 0 → class 1"]
    if classes > 20:
        assert [word for word in words if "→" in word] == listed
        assert "the most frequent confusions" in shown.data
    else:
        assert f"class {classes - 1}" in words
        assert "→" not in "".join(words)


def test_the_parts_of_the_model_say_what_becomes_of_them():
    stages = [Stage(name=f"<b>{n}</b>", parameters=1000 + n, flop_share=0.25, boundary_values=1)
              for n in range(4)]  # fmt: skip
    shown = run_page.stage_table(stages, 1, 2005, 4006).data
    assert re.findall(r"frozen|trained(?=<)", shown) == ["frozen", "frozen", "trained", "trained"]
    assert "<b>" not in shown
    assert '<td class="number">1,003</td>' in shown
    assert "2,005 of 4,006 parameters are trained" in shown
