"""The same bits on a processor of AMD and one of Intel, emulated; and that a difference is seen."""

import shutil

import pytest
from factories import use_folders

from bench import processors
from effnet_report.pages import reproducibility


@pytest.mark.slow("minutes")
@pytest.mark.fault("processors that are not as this one")
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="needs qemu-user")
@pytest.mark.parametrize(
    ("model", "case"),
    [("EPYC-Rome", ("quick", 0, "none")), ("Haswell", ("quick", 5, "mlp"))],
    ids=["AMD, all stages train", "Intel, activations are kept"],
)
def test_another_processor_gives_the_same_bits(model, case, campaign):
    """`make processors` compares all configurations on more models."""
    if not campaign:
        pytest.skip("`make campaign` emulates processors")
    (emulated,) = (place for place in processors.EMULATED if place.model == model)
    assert processors.on(emulated, [case]) == processors.on(processors.HERE, [case])


def test_a_processor_that_differs_is_named(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    assert "make processors" in reproducibility.processors().data
    hashes = {"HERE": {"weights": "a", "activations": "b"}, "EPYC": {"weights": "c"}}
    monkeypatch.setattr(
        processors, "on", lambda place: hashes["HERE"] | hashes.get(place.model, {})
    )
    told: list[str] = []
    found = processors.measure(processors.EMULATED[:2], told.append)
    assert told == [
        "AMD, Zen (2017): 1 of 2 equal to the bit",
        "AMD, Zen 2 (2019): 2 of 2 equal to the bit",
    ]
    found.save()
    page = reproducibility.processors().data
    assert "1 of 2 other processors" in page
    assert ">weights<" in page
