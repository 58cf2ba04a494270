from effnet_report.sweep.plan import CONTEXT, fitting

GB = 10**9


def test_runs_are_packed_into_the_memory_that_is_free():
    run = 4 * GB - CONTEXT
    assert fitting(80 * GB, run) == 18  # a tenth stays free
    assert fitting(8 * GB, run) == 1
    assert fitting(1 * GB, run) == 1  # it may yet fit, and says so itself if not
