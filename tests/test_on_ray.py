"""The sweep on a real Ray cluster of several nodes, all on this machine, with a token.

It shows scheduling, what faults do, and that records come back equal. The GPUs are declared:
nothing is shown about CUDA.
"""


def test_without_the_extra_it_says_how_to_install_it(clone):
    (clone.root / "ray.py").write_text("raise ImportError('no ray here')")
    result = clone.run("effnet", "sweep", "tiny", "--engine", "ray")
    assert result.returncode == 1
    assert "Ray is not installed: pip install '.[ray]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(clone.root.glob("results/tiny/*.json"))


def test_what_only_ray_can_do_is_not_asked_of_this_machine(clone):
    result = clone.run("effnet", "sweep", "tiny", "--gpus-per-run", "0.5")
    assert result.returncode == 1
    assert "--engine ray" in result.stderr
