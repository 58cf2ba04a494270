"""`results/photos.json`: how long studies of photos take, by `python -m bench.photos`."""

from typing import ClassVar

from pydantic import BaseModel

from effnet_report.measurements.file import File


class PhotosRow(BaseModel):
    """The hours of a study of some number of photos on one device.

    Attributes:
        device: `cpu`, or the name of a GPU.
        jobs: runs in parallel.
    """

    device: str
    backbone: str
    image_size: int
    photos: int
    runs: int
    epochs: int
    jobs: int
    hours: float


class Photos(File):
    """How long studies of some numbers of photos take."""

    file: ClassVar[str] = "photos.json"
    versions: dict[str, str]
    machine: dict[str, str]
    commit: str
    rows: list[PhotosRow]

    @property
    def usual(self) -> PhotosRow:
        """The study of the middle number of photos on a CPU."""
        on_cpu = [row for row in self.rows if row.device == "cpu"]
        return on_cpu[len(on_cpu) // 2]
