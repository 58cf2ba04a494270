"""A study of three factors that the source did not compare, from its YAML to a built book."""

import re

import pytest

from effnet_core.study import records

STUDY = """
title: Rates, statistics and depths on digits
seeds: [0]
factors:
  learning_rate: [1.0e-3, [1.0e-3, 3.0e-3]]
  norm_statistics: [batch, pretrained]
  freeze: [0, 5]
protocol: {dataset: digits, max_images: 120, image_size: 32, weights: none, epochs: 2,
  backbone: tinynet_e, batch_size: 16, early_stop_patience: null}
"""
# A page's own words: what is drawn, code and styles aside.
NO_WORDS = r"<script.*?</script>|<style.*?</style>|<svg.*?</svg>|<[^>]*>"


@pytest.mark.slow("minutes")
def test_a_study_of_unusual_factors_is_swept_and_becomes_a_book(clone, here, monkeypatch):
    monkeypatch.setenv("EFFNET_STUDY", "unusual")
    clone.bring_book("recipe", "results")
    (clone.root / "studies" / "unusual.yml").write_text(STUDY)
    here.use(clone.root)
    planned = here.run("effnet", "plan", "unusual")
    assert planned.returncode == 0, planned.stderr
    assert "raced from 1e-3 and 3e-3" in planned.stdout

    swept = clone.run("effnet", "sweep", "unusual")
    assert swept.returncode == 0, swept.stdout + swept.stderr
    left = {path.stem for path in (clone.root / "results" / "unusual").glob("0*-seed*.json")}
    assert len(left) == 8
    assert "08-lr1e-3_3e-3-pretrained-freeze5-seed0" in left
    record = records.load(clone.root / "results/unusual/05-lr1e-3_3e-3-batch-freeze0-seed0.json")
    assert record.number == 5
    assert [heat.learning_rate for heat in record.outcome.race] == [1e-3, 3e-3]
    again = here.run("effnet", "sweep", "unusual")
    assert "nothing to train" in again.stdout
    status = here.run("effnet", "status", "unusual").stdout
    assert "norm_statistics" in status
    assert "9 done" in status

    built = clone.run("jupyter-book", "build", "book")
    assert built.returncode == 0, built.stdout + built.stderr
    site = clone.root / "_build" / "html"
    run = (site / "runs/unusual/05-lr1e-3_3e-3-batch-freeze0-seed0.html").read_text()
    assert "Run 5: learning rate raced from 1e-3 and 3e-3, batch statistics, freeze 0" in run
    for page in ("index", "results", "recipe"):
        text = re.sub(NO_WORDS, " ", (site / f"{page}.html").read_text(), flags=re.DOTALL)
        assert not re.search(r"\b(heads?|linear layers?|nan)\b", text), page
    results = (site / "results.html").read_text()
    assert "raced from 1e-3 and 3e-3" in results
