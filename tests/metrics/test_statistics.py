import numpy as np
import pytest

from ipoke.metrics.statistics import estimate, unavailable


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    intervals = [estimate(rng.normal(3, 2, 40), "") for _ in range(200)]
    covered = sum(one.low <= 3 <= one.high for one in intervals if one.low is not None and one.high is not None)
    assert 0.88 * 200 <= covered <= 0.99 * 200


def test_mean_and_median_of_figures():
    values = [1.0, 2.0, 3.0, 10.0, 100.0]
    mean, median = estimate(values, "px"), estimate(values, "px", median=True)
    assert (mean.value, median.value) == (pytest.approx(23.2), 3)
    for one in (mean, median):
        assert (one.n, one.unit, one.reason) == (5, "px", None)
        assert one.value is not None
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.value <= one.high


def test_the_interval_shrinks_with_more_clips_and_is_repeatable():
    rng = np.random.default_rng(0)
    few, many = (estimate(rng.normal(size=count), "") for count in (20, 2000))
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert many.high - many.low < 0.3 * (few.high - few.low)
    assert estimate([1.0, 5.0, 9.0], "") == estimate([1.0, 5.0, 9.0], "")


def test_one_clip_has_no_spread():
    one = estimate([4.0], "dB")
    assert (one.value, one.low, one.high, one.n) == (4, 4, 4, 1)


def test_without_figures_the_reason_is_given():
    nothing = estimate([], "px")
    assert (nothing.value, nothing.n) == (None, 0)
    assert nothing.reason == "no clip of the split allows this measurement"
    assert unavailable("px", "no weights").reason == "no weights"
