import time

import numpy as np
import pytest

from ipoke.evaluation.metrics.statistics import estimate, paired_difference, ratio_estimate, unavailable


def interval(one):
    assert one.low is not None
    assert one.high is not None
    return one.low, one.high


def width(one):
    low, high = interval(one)
    return high - low


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


def test_a_ratio_is_of_means_and_keeps_clips_together():
    rng = np.random.default_rng(0)
    below = rng.exponential(1, 200)
    exact = ratio_estimate(2 * below, below, "x")
    assert exact[:3] == pytest.approx((2, 2, 2))
    assert exact[3:] == (200, "x", None)
    assert ratio_estimate([1.0, 5.0], [4.0, 8.0], "").value == pytest.approx(0.5)
    noisy = ratio_estimate(2 * below + rng.normal(0, 0.5, 200), below, "")
    apart = ratio_estimate(rng.permutation(2 * below), below, "")
    low, high = interval(noisy)
    assert low < 2 < high
    assert width(apart) > 1.3 * width(noisy)


def test_the_interval_of_a_ratio_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        below = rng.normal(4, 1, 40)
        low, high = interval(ratio_estimate(0.5 * below + rng.normal(0, 1, 40), below, ""))
        covered += low <= 0.5 <= high
    assert 0.88 * 200 <= covered <= 0.99 * 200


def test_a_ratio_over_nothing_has_a_reason():
    nothing = ratio_estimate([1.0, 2.0, 3.0], [-1.0, 0.5, 0.4], "px")
    assert (nothing.value, nothing.n, nothing.unit) == (None, 0, "px")
    assert nothing.reason is not None
    assert "the denominator may be 0" in nothing.reason
    assert ratio_estimate([1.0], [0.0], "").value is None
    assert ratio_estimate([1.0], [-2.0], "").value == -0.5
    assert ratio_estimate([], [], "").reason == "no clip of the split allows this measurement"


def test_a_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(0)
    hardness = rng.exponential(10, 100)
    a, b = hardness + rng.normal(1, 0.5, 100), hardness + rng.normal(0, 0.5, 100)
    difference, alone = paired_difference(a, b, "px"), estimate(a, "px")
    low, high = interval(difference)
    assert 0 < low < 1 < high
    assert width(difference) < 0.2 * width(alone)
    assert difference.value == pytest.approx(float((a - b).mean()))
    assert paired_difference(b, a, "px").value == pytest.approx(float((b - a).mean()))


def test_pairs_that_do_not_match_are_refused():
    for paired in (ratio_estimate, paired_difference):
        with pytest.raises(ValueError, match="got 2 and 3"):
            paired([1.0, 2.0], [1.0, 2.0, 3.0], "")


def test_a_thousand_clips_take_no_time():
    figures = np.random.default_rng(0).exponential(1, 1000)
    started = time.process_time()
    estimate(figures, "")
    ratio_estimate(figures, figures, "")
    paired_difference(figures, figures, "")
    assert time.process_time() - started < 2
