"""How long a study of your own photos takes: `python -m bench.photos` writes results/photos.json.

The hours are those of `effnet plan`, for the study that `effnet new` would write if it had all the
hours it wants: on this machine's CPU, and at the speed of the GPU that `bench.gpu` measured.
"""

import sys
from dataclasses import replace

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study.design import Protocol, Study
from effnet_core.study.provenance import commit, hardware, versions
from effnet_core.study.studies import load_study
from effnet_report.inference import forecast
from effnet_report.intake.options import depths, usual_epochs
from effnet_report.intake.weigh import RATES
from effnet_report.measurements.gpu import Gpu
from effnet_report.measurements.photos import Photos, PhotosRow
from effnet_report.sweep.hours import classical_hours, in_parallel, task_hours
from effnet_report.sweep.plan import Speed, Timed, at_speed, time_steps
from effnet_report.sweep.sweep import automatic_jobs

PHOTOS = (300, 3_000, 30_000)
CLASSES, FOLDS = 2, 5
STAGES = 7  # of Lite0 and of V2-L
CPU = {"backbone": "tf_efficientnet_lite0", "weights": "packaged", "image_size": 160}


def study_of(photos: int, network: dict[str, object]) -> Study:
    """The study of some number of photos: four depths in five folds."""
    content = {
        "name": "photos",
        "title": f"{photos} photos",
        "seeds": list(range(FOLDS)),
        "factors": {"freeze": [*depths(STAGES)[1]], "head": ["none"], "scheduler": ["cosine"]},
        "protocol": Protocol(
            dataset="elpv",  # none of its images is read
            folds=FOLDS,
            epochs=usual_epochs(photos),
            early_stop_patience=None,
            learning_rate=RATES,
            norm_statistics=forecast.RECIPE["norm_statistics"],
            **network,
        ),
    }
    return Study.model_validate(content)


def hours(photos: int, network: dict[str, object], timed: Timed, jobs: int) -> float:
    """Hours of a study with its classical comparison, some of its runs in parallel.

    Args:
        timed: the configurations of the same study for another number of photos.
    """
    design = study_of(photos, network)
    test = round(photos / FOLDS)
    validation = round(design.protocol.validation_share * (photos - test))
    train = photos - test - validation
    rows = replace(timed, runs=design.configurations()).rows(train, validation, test)
    classical = classical_hours(design.protocol, train, photos, CLASSES)
    return in_parallel(task_hours((row.hours for row in rows), classical, FOLDS), jobs)


def on_this_cpu() -> list[PhotosRow]:
    """The studies on all cores of this machine."""
    design = study_of(PHOTOS[0], CPU)
    return _rows("cpu", CPU, time_steps(design, CLASSES, "cpu"), automatic_jobs(design))


def on_the_gpu() -> list[PhotosRow]:
    """The studies with the source's network, one run after another on the measured GPU."""
    measured = Gpu.load()
    if measured is None:
        raise InputError("No GPU was measured: run `python -m bench.gpu` on a machine with one.")
    paper = load_study("paper").protocol
    network = {name: getattr(paper, name) for name in ("backbone", "weights", "image_size")}
    (step,) = [
        timed_step
        for timed_step in measured.steps
        if (timed_step.freeze, timed_step.precision, timed_step.form) == (0, "float32", "computed")
    ]
    speed = Speed(forward=step.seconds / step.flop, training=step.seconds / step.flop)
    timed = at_speed(study_of(PHOTOS[0], network), CLASSES, speed)
    return _rows(measured.machine["gpu"], network, timed, jobs=1)


def _rows(device: str, network: dict[str, object], timed: Timed, jobs: int) -> list[PhotosRow]:
    designs = {photos: study_of(photos, network) for photos in PHOTOS}
    return [
        PhotosRow(
            device=device,
            backbone=design.protocol.backbone,
            image_size=design.protocol.image_size,
            photos=photos,
            runs=len(list(design.runs())),
            epochs=design.protocol.epochs,
            jobs=jobs,
            hours=round(hours(photos, network, timed, jobs), 3),
        )
        for photos, design in designs.items()
    ]


def main() -> None:
    """Compute the hours, and write them."""
    rows = [*on_this_cpu(), *on_the_gpu()]
    photos = Photos(versions=versions(), machine=hardware(), commit=commit(), rows=rows)
    photos.save()
    print(f"Written: {Photos.path().relative_to(paths.ROOT)}")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"Error: {error}")
