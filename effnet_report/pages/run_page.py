"""The pictures and tables of one run, as `notebooks/train.ipynb` shows them.

A notebook has to be whole wherever it is opened, so its pictures are inside it.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from IPython.display import HTML
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from effnet_core import paths
from effnet_core.study.design import Settings
from effnet_core.study.records import record_path
from effnet_core.study.schema import Epoch, Heat, Record, Stage
from effnet_report import words
from effnet_report.render import confusion, html
from effnet_report.render.data_uris import data_uri, jpeg
from effnet_report.render.drawing import INK, OURS, THEIRS

SCHEDULER_WORDS = {"plateau": "ReduceLROnPlateau", "cosine": "CosineAnnealingLR"}
TILE = 72


def summary(settings: Settings, changed: Sequence[str]) -> HTML:
    """What this run is, in two sentences, and what it changed of its study."""
    frozen = "nothing frozen"
    if settings.freeze:
        frozen = f"stem and first {settings.freeze} of the stages frozen"
    note = Markup("<p>Changed from the study: {}.</p>").format("; ".join(changed))
    return HTML(
        Markup(
            "<p><strong>Configuration {}</strong> of study <em>{}</em>, seed {}: {}, {}, {}.</p>"
            "<p>{} with {} weights at {} x {} pixels, batches of {}, Adam at {}, at most {} "
            "epochs{}.</p>{}"
        ).format(
            *(settings.number, settings.study, settings.seed, frozen),
            *(words.level("head", settings.head), SCHEDULER_WORDS[settings.scheduler]),
            *(settings.backbone, settings.weights, settings.image_size, settings.image_size),
            *(settings.batch_size, _rates(settings.rates), settings.epochs, _recipe(settings)),
            note if changed else "",
        )
    )


def _rates(rates: Sequence[float]) -> str:
    listed = words.joined(f"{rate:g}" for rate in rates)
    return f"the best of {listed}" if len(rates) > 1 else listed


# Settings of how a network is fine-tuned whose defaults need no mention.
RECIPE = ("norm_statistics", "augment", "class_weights", "layer_decay", "head_first", "select",
          "criterion")  # fmt: skip


def _recipe(settings: Settings) -> str:
    """The recipe as far as it is not the usual one, such as `; pretrained statistics`."""
    fields = type(settings).model_fields
    values = {name: getattr(settings, name) for name in RECIPE}
    unusual = [(name, value) for name, value in values.items() if value != fields[name].default]
    return "".join(f"; {words.full_level(name, value)}" for name, value in unusual)


def image_grid(
    images: np.ndarray, labels: np.ndarray, classes: Sequence[str], indices: np.ndarray
) -> HTML:
    """The first training images of each class, one row a class, up to ten classes.

    Args:
        images: shape (N, side, side, 3), uint8.
        labels: class of every image, shape (N,).
        indices: the training images.
    """
    rows = []
    for label, name in list(enumerate(classes))[:10]:
        chosen = indices[labels[indices] == label][:10]
        sheet = _sheet([images[index] for index in chosen])
        total = int((labels[indices] == label).sum())
        caption = f"{name}: {total} training images"
        rows.append(_figure(sheet, f"{len(chosen)} training images of class {name}", caption))
    hidden = len(classes) - len(rows)
    more = Markup("<p>{} more classes are not shown.</p>").format(hidden) if hidden else ""
    return HTML(Markup().join([*rows, more]))


def stage_table(stages: Sequence[Stage], freeze: int, trainable: int, total: int) -> HTML:
    """Each part of the model with its size, its share of the arithmetic, and its fate."""
    table = pd.DataFrame(
        {
            "part": stage.name,
            "parameters": stage.parameters,
            "share of forward FLOP, %": 100 * stage.flop_share,
            "in this run": "frozen" if freeze and position <= freeze else "trained",
        }
        for position, stage in enumerate(stages)
    )
    note = f"{trainable:,} of {total:,} parameters are trained, the new last layers included."
    return HTML(html.rows(table) + Markup("<p>{}</p>").format(note))


def learning_curves(history: Sequence[Epoch], best_epoch: int, race: Sequence[Heat] = ()) -> HTML:
    """Loss, accuracy and learning rate by epoch, the best one marked; and how its rate was found.

    Args:
        race: of the learning rates, if there was one.
    """
    epochs = [epoch.epoch for epoch in history]
    # No canvas, but margins by hand: to find them, matplotlib would draw everything twice.
    figure = Figure(figsize=(9, 2.8), facecolor="white")
    loss, accuracy, rate = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.05, right=0.985, top=0.86, bottom=0.17, wspace=0.22)
    loss.plot(epochs, [e.train_loss for e in history], "o-", color=THEIRS, label="training")
    loss.plot(epochs, [e.validation.loss for e in history], "s-", color=OURS, label="validation")
    loss.legend()
    loss.set_title("loss")
    accuracy.plot(epochs, [e.validation.accuracy for e in history], "s-", color=OURS)
    accuracy.set_title("validation accuracy, %")
    rate.step(epochs, [e.learning_rate for e in history], "o-", where="mid", color=INK)
    rate.set_title("learning rate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (loss, accuracy, rate):
        axes.axvline(best_epoch, color=THEIRS, linestyle=":", zorder=0)
        axes.set_xlabel("epoch")
        axes.set_xticks(epochs)
    best = history[best_epoch - 1].validation.accuracy
    text = (
        f"The weights of epoch {best_epoch} of {len(history)} are used, with a validation accuracy "
        f"of {best:.1f} % (dotted line)"
    )
    curves = _figure(_svg(figure), f"Learning curves. {text}.", text)
    return HTML(curves + _race(race) if race else curves)


def _race(race: Sequence[Heat]) -> Markup:
    table = pd.DataFrame(
        {
            "learning rate": f"{heat.learning_rate:g}",
            "validation loss": "diverged"
            if heat.validation_loss is None
            else f"{heat.validation_loss:.3f}",
        }
        for heat in race
    )
    note = "Each learning rate trained from the same start; the one with the lowest loss went on."
    return html.rows(table) + Markup("<p>{}</p>").format(note)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> HTML:
    """Test images by true and predicted class."""
    counts = confusion.tally(labels, predicted, classes)
    text = f"{(labels == predicted).sum()} of {len(labels)} test images are right"
    if not confusion.readable(counts):
        text += "; the most frequent confusions"
    return HTML(
        _figure(_svg(confusion.draw(counts)), f"{text}. {confusion.in_words(counts)}", text)
    )


def worst_mistakes(
    images: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    evaluation: Any,
) -> HTML:
    """The test images that the model got wrong with the most confidence, at most ten.

    Args:
        evaluation: `training.evaluate.Evaluation` of the test set.
    """
    wrong = np.flatnonzero(evaluation.predicted != evaluation.labels)
    if not len(wrong):
        return html.paragraph(["No test image is wrong."])
    worst = wrong[np.argsort(-evaluation.confidence[wrong], kind="stable")][:10]
    figures = []
    for place in worst:
        index = evaluation.indices[place]
        truth, guess = classes[evaluation.labels[place]], classes[evaluation.predicted[place]]
        caption = f"{names[index]}: {truth}, taken for {guess} ({evaluation.confidence[place]:.0%})"
        figures.append(_figure(_sheet([images[index]]), caption, caption, width=150))
    flow = Markup('<div style="display:flex;flex-wrap:wrap;gap:.5rem">{}</div>')
    return HTML(flow.format(Markup().join(figures)))


def record_summary(record: Record) -> HTML:
    """The run's result, and where its record lies."""
    parts = (("validation", record.outcome.validation), ("test", record.outcome.test))
    table = pd.DataFrame(
        {
            f"at the {words.level('select', record.settings.select)}": part,
            "images": scores.images,
            "accuracy, %": scores.accuracy,
            "macro precision, %": scores.precision,
            "macro recall, %": scores.recall,
            "macro F1, %": scores.f1,
        }
        for part, scores in parts
    )
    path = record_path(record.settings.study, record.run_id).relative_to(paths.ROOT)
    place = Markup("<p>Record: <code>{}</code>, {:.0f} s in all.</p>")
    return HTML(
        html.rows(table, decimals=2) + place.format(path.as_posix(), record.made.seconds["total"])
    )


def _sheet(tiles: Sequence[np.ndarray]) -> str:
    """Images side by side, as a data URI."""
    sheet = Image.new("RGB", (max(1, len(tiles)) * (TILE + 2) - 2, TILE), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile).resize((TILE, TILE)), (place * (TILE + 2), 0))
    return jpeg(np.asarray(sheet))


def _svg(figure: Figure) -> str:
    with mpl.rc_context({"svg.fonttype": "none"}):  # letters as text: a third of the size
        return data_uri("image/svg+xml", html.svg(figure))


def _figure(source: str, alt: str, caption: str, width: int | None = None) -> Markup:
    style = f"width:{width}px" if width else "max-width:100%"
    return Markup(
        '<figure style="margin:.5rem 0;{}"><img src="{}" alt="{}" style="{}">'
        "<figcaption>{}</figcaption></figure>"
    ).format(style if width else "", source, alt, style, caption)
