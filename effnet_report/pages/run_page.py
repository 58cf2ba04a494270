"""The pictures and tables of one run, as `notebooks/train.ipynb` shows them."""

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image

from effnet_core import paths
from effnet_core.study.design import HEAD_WORDS, Settings
from effnet_core.study.records import record_path
from effnet_core.study.schema import Epoch, Record, Stage

# Okabe and Ito's colours: told apart with every kind of colour vision.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"
SCHEDULER_WORDS = {"plateau": "ReduceLROnPlateau", "cosine": "CosineAnnealingLR"}
TILE = 72


def summary(settings: Settings, changed: Sequence[str]) -> HTML:
    """What this run is, in two sentences, and what it changed of its study."""
    frozen = "nothing frozen"
    if settings.freeze:
        frozen = f"stem and first {settings.freeze} of the stages frozen"
    note = f"<p>Changed from the study: {escape('; '.join(changed))}.</p>" if changed else ""
    return HTML(
        f"<p><strong>Configuration {settings.number}</strong> of study "
        f"<em>{escape(settings.study)}</em>, seed {settings.seed}: {frozen}, "
        f"{HEAD_WORDS[settings.head]}, {SCHEDULER_WORDS[settings.scheduler]}.</p>"
        f"<p>{escape(settings.backbone)} with {escape(settings.weights)} weights at "
        f"{settings.image_size} x {settings.image_size} pixels, batches of "
        f"{settings.batch_size}, Adam at {settings.learning_rate:g}, at most "
        f"{settings.epochs} epochs.</p>{note}"
    )


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
    more = f"<p>{hidden} more classes are not shown.</p>" if hidden else ""
    return HTML("".join(rows) + more)


def stage_table(stages: Sequence[Stage], freeze: int, trainable: int, total: int) -> HTML:
    """Each part of the model with its size, its share of the arithmetic, and its fate."""
    rows = []
    for position, stage in enumerate(stages):
        fate = "frozen" if freeze and position <= freeze else "trained"
        rows.append(
            f"<tr><td>{escape(stage.name)}</td><td>{stage.parameters:,}</td>"
            f"<td>{100 * stage.flop_share:.1f} %</td><td>{fate}</td></tr>"
        )
    return HTML(
        "<table><thead><tr><th>part</th><th>parameters</th><th>share of forward FLOP</th>"
        f"<th>in this run</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"<p>{trainable:,} of {total:,} parameters are trained, the new head included.</p>"
    )


def learning_curves(history: Sequence[Epoch], best_epoch: int) -> HTML:
    """Loss, accuracy and learning rate by epoch; the best epoch is marked."""
    epochs = [epoch.epoch for epoch in history]
    # Margins by hand: to find them, matplotlib would draw everything twice.
    figure, (loss, accuracy, rate) = plt.subplots(1, 3, figsize=(9, 2.8))
    figure.subplots_adjust(left=0.05, right=0.985, top=0.86, bottom=0.17, wspace=0.22)
    loss.plot(epochs, [e.train_loss for e in history], "o-", color=GREY, label="training")
    loss.plot(epochs, [e.validation.loss for e in history], "s-", color=BLUE, label="validation")
    loss.legend(frameon=False)
    loss.set_title("Loss")
    accuracy.plot(epochs, [e.validation.accuracy for e in history], "s-", color=BLUE)
    accuracy.set_title("Validation accuracy (%)")
    rate.step(epochs, [e.learning_rate for e in history], "o-", where="mid", color=ORANGE)
    rate.set_title("Learning rate")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (loss, accuracy, rate):
        axes.axvline(best_epoch, color=GREY, linestyle=":", zorder=0)
        axes.set_xlabel("epoch")
        axes.set_xticks(epochs)
        axes.spines[["top", "right"]].set_visible(False)
    best = history[best_epoch - 1].validation.accuracy
    text = (
        f"Best epoch {best_epoch} of {len(history)}, validation accuracy {best:.1f} % (dotted line)"
    )
    return HTML(_figure(_svg(figure), f"Learning curves. {text}.", text))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> HTML:
    """Test images by true and predicted class."""
    right = int((labels == predicted).sum())
    text = f"{right} of {len(labels)} test images are right"
    if len(classes) > 100:
        return HTML(f"<p>{text}. A matrix of {len(classes):,} classes is not drawn.</p>")
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, predicted), 1)
    side = min(2 + 0.6 * len(classes), 9)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    axes.imshow(counts, cmap="Blues", vmax=max(1, counts.max() * 1.3))
    if len(classes) <= 20:
        for row, column in np.ndindex(counts.shape):
            shade = "white" if counts[row, column] > 0.7 * counts.max() else "black"
            count = axes.text(column, row, str(counts[row, column]), ha="center", va="center")
            count.set_color(shade)
        axes.set_xticks(range(len(classes)), _plain(classes), rotation=30, ha="right")
        axes.set_yticks(range(len(classes)), _plain(classes))
    axes.set_xlabel("predicted")
    axes.set_ylabel("true class")
    return HTML(_figure(_svg(figure), f"Confusion matrix. {text}.", text))


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
        return HTML("<p>No test image is wrong.</p>")
    worst = wrong[np.argsort(-evaluation.confidence[wrong], kind="stable")][:10]
    figures = []
    for place in worst:
        index = evaluation.indices[place]
        truth, guess = classes[evaluation.labels[place]], classes[evaluation.predicted[place]]
        caption = f"{names[index]}: {truth}, taken for {guess} ({evaluation.confidence[place]:.0%})"
        figures.append(_figure(_sheet([images[index]]), caption, caption, width=150))
    return HTML(f'<div style="display:flex;flex-wrap:wrap;gap:.5rem">{"".join(figures)}</div>')


def record_summary(record: Record) -> HTML:
    """The run's result, and where its record lies."""
    rows = "".join(
        f"<tr><td>{part}</td><td>{m.images}</td><td>{m.accuracy:.2f}</td>"
        f"<td>{m.precision:.2f}</td><td>{m.recall:.2f}</td><td>{m.f1:.2f}</td></tr>"
        for part, m in (("validation", record.outcome.validation), ("test", record.outcome.test))
    )
    path = record_path(record.settings.study, record.run_id).relative_to(paths.ROOT)
    return HTML(
        "<table><thead><tr><th>at the best epoch</th><th>images</th><th>accuracy (%)</th>"
        "<th>macro precision (%)</th><th>macro recall (%)</th><th>macro F1 (%)</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"<p>Record: <code>{escape(path.as_posix())}</code>, "
        f"{record.made.seconds['total']:.0f} s in all.</p>"
    )


def _sheet(tiles: Sequence[np.ndarray]) -> str:
    """Images side by side, as a data URI."""
    sheet = Image.new("RGB", (max(1, len(tiles)) * (TILE + 2) - 2, TILE), "white")
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile).resize((TILE, TILE)), (place * (TILE + 2), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=80)
    return _uri("image/jpeg", buffer.getvalue())


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "effnet"}):
        figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    plt.close(figure)
    return _uri("image/svg+xml", buffer.getvalue().encode())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _figure(source: str, alt: str, caption: str, width: int | None = None) -> str:
    style = f"width:{width}px" if width else "max-width:100%"
    return (
        f'<figure style="margin:.5rem 0;{f"width:{width}px" if width else ""}">'
        f'<img src="{source}" alt="{escape(alt)}" style="{style}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _plain(names: Sequence[str]) -> list[str]:
    """Class names for matplotlib, which would read $...$ as mathematics."""
    return [name.replace("$", r"\$") for name in names]
