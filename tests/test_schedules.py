import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effnet_core.training.schedules import Schedule


def rates(run, losses):
    """The rate that each epoch is trained with, given the loss after it."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=run.learning_rate)
    schedule = Schedule(optimizer, run)
    found = []
    for loss in losses:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(loss)
    return found


@pytest.mark.parametrize(
    ("losses", "halvings"),
    [
        # Patience 1: one epoch without a lower loss is forgiven, the second halves the rate.
        ([1.0, 0.9, 0.8, 0.7], [0, 0, 0, 0]),
        ([1.0, 1.1, 1.2, 1.3], [0, 0, 0, 1]),
        ([1.0, 1.1, 1.2, 1.3, 1.4, 1.5], [0, 0, 0, 1, 1, 2]),
        ([1.0, 1.1, 0.9, 1.1, 0.8, 1.0], [0, 0, 0, 0, 0, 0]),
        ([1.0, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99], [0, 0, 0, 0, 1, 1, 2]),
        ([1.0, 1.0, 1.0, 1.0], [0, 0, 0, 1]),
        # A loss lower by less than 0.01 per cent is not lower: PyTorch's default threshold.
        ([1.0, 0.99995, 0.99991, 0.5], [0, 0, 0, 1]),
        ([1.0, 0.9998, 0.9996, 0.5], [0, 0, 0, 0]),
    ],
)
def test_plateau_halves_the_rate_after_two_epochs_without_a_lower_loss(
    make_settings, losses, halvings
):
    run = make_settings(scheduler="plateau", learning_rate=1e-4)
    assert rates(run, losses) == [1e-4 / 2**n for n in halvings]


def test_plateau_takes_patience_and_factor_from_the_settings(make_settings):
    run = make_settings(
        scheduler="plateau", learning_rate=1.0, plateau_patience=0, plateau_factor=0.1
    )
    assert rates(run, [1.0, 2.0, 2.0]) == pytest.approx([1.0, 1.0, 0.1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(epochs=st.integers(1, 30), losses=st.lists(st.floats(0, 9), min_size=30, max_size=30))
def test_cosine_follows_its_formula_whatever_the_loss(make_settings, epochs, losses):
    run = make_settings(scheduler="cosine", learning_rate=1e-4, epochs=epochs)
    # Loshchilov and Hutter, arXiv 1608.03983, equation 5, without restarts and down to 0.
    expected = [1e-4 * (1 + math.cos(math.pi * done / epochs)) / 2 for done in range(epochs)]
    found = rates(run, losses[:epochs])
    assert found == pytest.approx(expected, rel=1e-9)
    assert found[-1] > 0, "the last epoch is trained too"
