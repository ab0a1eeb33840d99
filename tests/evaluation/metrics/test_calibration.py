"""Scores and tests of spread: closed forms, what calibrated clouds must give, and mistakes that must show."""

import math

import numpy as np
import pytest

from checked_shapes import unchecked
from ipoke.evaluation.metrics.calibration import (
    coverage,
    energy_score,
    energy_skill,
    likelihood_ranking,
    moving_points,
    rank_flatness,
    rank_histogram,
    spread_error_ratio,
    variance_and_squared_error,
)

POINTS = 4000


def clouds(n, m, spread=1.0, shift=0.0, seed=0, points=POINTS):
    """Draw samples N(shift, spread^2) and truths N(0, 1), each point by itself."""
    rng = np.random.default_rng(seed)
    return shift + spread * rng.normal(size=(n, points, 2)), rng.normal(size=(m, points, 2))


def on_a_line(values):
    """Turn numbers into clouds of one point that moves along x."""
    return np.stack([values, np.zeros_like(values)], -1)[:, None]


def expected_score(mean, spread, truth_spread):
    """Give the continuous ranked probability score of N(mean, spread^2), expected over truths N(0, truth_spread^2)."""
    both = math.hypot(spread, truth_spread)
    z = mean / both
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return both * (z * math.erf(z / math.sqrt(2)) + 2 * density) - spread / math.sqrt(math.pi)


def follows_the_closed_form(score, n=3, m=4, repeats=4000):
    """Tell whether a score averages to its expectation over few samples, on a line."""
    rng = np.random.default_rng(0)
    for mean, spread, truth_spread in ((0.0, 1.0, 1.0), (1.5, 2.0, 0.5)):
        samples = on_a_line(rng.normal(mean, spread, n * repeats)).reshape(repeats, n, 1, 2)
        truths = on_a_line(rng.normal(0, truth_spread, m * repeats)).reshape(repeats, m, 1, 2)
        scores = [score(*pair) for pair in zip(samples, truths, strict=True)]
        tolerance = 4 * np.std(scores) / math.sqrt(repeats)
        if abs(np.mean(scores) - expected_score(mean, spread, truth_spread)) > tolerance:
            return False
    return True


def between(samples):
    return np.linalg.norm(samples[:, None] - samples[None], axis=-1).mean()


MISTAKES = {
    "n^2 pairs": lambda x, y: energy_score(x, y) + between(x) * len(x) / (len(x) - 1) / 2 - between(x) / 2,
    "no half": lambda x, y: energy_score(x, y) - between(x) * len(x) / (len(x) - 1) / 2,
    "swapped": lambda x, y: energy_score(y, x),
    "no spread": lambda x, y: float(np.mean([energy_score(one[None], y) for one in x])),
}


def test_the_energy_score_of_gaussians_in_closed_form():
    assert follows_the_closed_form(energy_score)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_energy_score_is_found(mistake):
    assert not follows_the_closed_form(MISTAKES[mistake])


def test_the_energy_score_by_hand():
    samples, truths = on_a_line(np.array([0.0, 2.0])), on_a_line(np.array([0.0, 5.0]))
    assert energy_score(samples, truths) == pytest.approx((0 + 5 + 2 + 3) / 4 - 2 / 2)
    assert energy_score(samples[:1], truths) == pytest.approx(2.5)


def test_the_unit_is_px_rms_per_point():
    samples, truths = clouds(5, 3, points=2)
    alone = energy_score(samples, truths)
    assert energy_score(10 * samples, 10 * truths) == pytest.approx(10 * alone)
    assert energy_score(np.tile(samples, (1, 7, 1)), np.tile(truths, (1, 7, 1))) == pytest.approx(alone)


def test_the_true_law_has_the_best_energy_score():
    samples, truths = clouds(200, 200, points=3)
    best = energy_score(samples, truths)
    for worse in (samples + 0.5, samples * 1.5, samples * 0.5, samples * 0):
        assert energy_score(worse, truths) > best + 0.01
    # Right in each point but not jointly: the three points move together, the samples say that they do not.
    joint = np.repeat(truths[:, :1], 3, axis=1)
    together = np.repeat(samples[:, :1], 3, axis=1)
    assert energy_score(samples, joint) > energy_score(together, joint) + 0.01


def test_skill_is_one_for_the_oracle_and_nought_for_copying():
    rng = np.random.default_rng(0)
    copy, oracle = rng.uniform(4, 6, 50), rng.uniform(1, 2, 50)
    for model, value in ((oracle, 1), (copy, 0), ((copy + oracle) / 2, 0.5), (2 * copy - oracle, -1)):
        skill = energy_skill(model, copy, oracle)
        assert (skill.value, skill.low, skill.high, skill.n) == (*[pytest.approx(value)] * 3, 50)


def test_skill_is_of_means_not_a_mean_of_skills():
    skill = energy_skill(np.array([1.0, 5.0]), np.array([2.0, 20.0]), np.array([1.0, 5.0]))
    assert skill.value == pytest.approx(1)
    assert energy_skill([1.0, 19.0], [2.0, 20.0], [1.0, 5.0]).value == pytest.approx(2 / 16)


def test_an_independent_oracle_has_a_skill_of_one_within_its_interval():
    scores = {"oracle": [], "again": [], "copy": []}
    for seed in range(150):
        samples, truths = clouds(6, 6, seed=seed, points=4)
        again, _ = clouds(6, 1, seed=1000 + seed, points=4)
        for name, cloud in (("oracle", samples), ("again", again), ("copy", np.full((1, 4, 2), 2.0))):
            scores[name].append(energy_score(cloud, truths))
    skill = energy_skill(scores["again"], scores["copy"], scores["oracle"])
    assert skill.low is not None
    assert skill.high is not None
    assert skill.low < 1 < skill.high
    assert skill.high - skill.low < 0.2


def test_there_is_no_skill_where_copying_is_as_good():
    noise = np.random.default_rng(0).normal(size=(3, 40))
    skill = energy_skill(*noise)
    assert skill.value is None
    assert skill.reason is not None
    assert "copying the picture" in skill.reason
    assert energy_skill([], [], []).reason == "no clip of the split allows this measurement"


@pytest.mark.parametrize("n", [1, 2, 5, 20])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_of_exchangeable_clouds_is_nominal(n, level):
    covered = coverage(*clouds(n, 1), level)
    assert covered.shape == (POINTS,)
    assert abs(covered.mean() - level) < 4 * covered.std() / math.sqrt(POINTS) + 1e-9
    assert ((covered >= 0) & (covered <= 1)).all()


def test_coverage_is_nominal_for_any_law_and_among_ties():
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 3, (8, POINTS, 2)) * rng.exponential(5, (1, POINTS, 1))
    for level in (0.5, 0.8):
        covered = coverage(pool[:6], pool[6:], level)
        assert abs(covered.mean() - level) < 4 * covered.std() / math.sqrt(POINTS)
    assert coverage(np.zeros((5, 3, 2)), np.zeros((2, 3, 2)), 0.37) == pytest.approx(0.37)


def test_coverage_shows_too_little_and_too_much_spread():
    for level in (0.5, 0.9):
        narrow, wide, aside = (
            coverage(*clouds(20, 1, **law), level).mean() for law in ({"spread": 0.5}, {"spread": 2}, {"shift": 2})
        )
        assert narrow < level - 0.15
        assert wide > level + 0.05
        assert aside < level - 0.1


def test_coverage_by_hand():
    samples = on_a_line(np.array([0.0, 1.0, 2.0]))
    middle, end, far = (on_a_line(np.array([x])) for x in (1.1, 2.5, 50.0))
    # The middle ties with the second sample for ranks 1 and 2 of 4, the end has rank 3, the far one rank 4.
    assert coverage(samples, middle, 0.5) == pytest.approx(1)
    assert coverage(samples, middle, 0.3) == pytest.approx(0.3 * 4 / 2)
    assert coverage(samples, end, 0.7) == pytest.approx(0.7 * 4 - 2)
    assert coverage(samples, end, 0.5) == coverage(samples, far, 0.5) == 0
    assert coverage(samples, far, 0.9) == pytest.approx(0.6)
    assert coverage(samples, np.concatenate([middle, end]), 0.5) == pytest.approx(0.5)


def test_background_is_left_out_by_where_samples_and_truths_go():
    start = np.zeros((4, 2))
    samples, truths = np.zeros((3, 4, 2)), np.zeros((2, 4, 2))
    samples[1, 1, 0] = truths[0, 2, 1] = 1.0
    samples[:, 3] = 0.4
    truths[:, 3, 0] = 0.3
    assert moving_points(samples, truths, start).tolist() == [False, True, True, True]
    assert moving_points(samples * 0.8, truths, start).tolist() == [False, True, True, False]
    moved = moving_points(truths, samples, start)
    assert moved.tolist() == [False, True, True, True]


@pytest.mark.parametrize("n", [2, 5, 20])
def test_spread_matches_error_where_calibrated_at_any_number_of_samples(n):
    spread, error = variance_and_squared_error(*clouds(n, 2))
    assert spread / error == pytest.approx(1, abs=0.05)
    # Without (n + 1) / n, five samples would look over-confident by a tenth: the tolerance tells that apart.
    assert n != 5 or spread * n / (n + 1) / error < 0.9


@pytest.mark.parametrize("law", [{"spread": 0.5}, {"spread": 2}, {"shift": 1}])
def test_the_spread_error_ratio_shows_what_is_wrong(law):
    figures = [variance_and_squared_error(*clouds(5, 2, seed=seed, points=200, **law)) for seed in range(40)]
    ratio = spread_error_ratio(*np.array(figures).T)
    claimed = law.get("spread", 1) ** 2
    wanted = math.sqrt(claimed * 1.2 / (claimed / 5 + 1 + law.get("shift", 0) ** 2))
    assert (wanted > 1) == (claimed > 1)
    assert ratio.value == pytest.approx(wanted, rel=0.03)
    assert ratio.low is not None
    assert ratio.high is not None
    assert 0.9 * wanted < ratio.low < ratio.high < 1.1 * wanted


def test_the_ratio_is_of_means_and_copies_have_none():
    assert spread_error_ratio([1.0, 7.0], [4.0, 28.0]).value == pytest.approx(0.5)
    assert variance_and_squared_error(np.zeros((4, 2, 2)), np.ones((1, 2, 2))) == (0, 2)
    assert spread_error_ratio([0.0], [2.0]).value == 0
    assert spread_error_ratio([1.0], [0.0]).value is None


def test_ranks_by_hand():
    samples, truths = on_a_line(np.array([0.0, 1.0, 2.0])), on_a_line(np.array([-1.0, 1.5, 1.7, 9.0]))
    counts = rank_histogram(samples, truths, seed=0)
    assert counts.shape == (1, 2, 4)
    assert counts[0, 0].tolist() == [1, 0, 2, 1]
    assert counts[0, 1].sum() == 4


def test_places_among_equal_values_are_drawn():
    counts = rank_histogram(np.zeros((3, POINTS, 2)), np.zeros((1, POINTS, 2)), seed=0).sum((0, 1))
    assert counts == pytest.approx(np.full(4, POINTS / 2), rel=0.1)
    same = rank_histogram(np.zeros((3, 50, 2)), np.zeros((1, 50, 2)), seed=4)
    assert (same == rank_histogram(np.zeros((3, 50, 2)), np.zeros((1, 50, 2)), seed=4)).all()


def test_histograms_are_flat_or_lean_or_bend():
    shapes = {}
    for name, law in {"right": {}, "narrow": {"spread": 0.5}, "wide": {"spread": 2}, "aside": {"shift": 1}}.items():
        shapes[name] = rank_histogram(*clouds(5, 1, **law), seed=0).sum((0, 1)) / (2 * POINTS)
    assert shapes["right"] == pytest.approx(np.full(6, 1 / 6), abs=0.02)
    assert shapes["narrow"][[0, 5]].min() > 0.25
    assert shapes["wide"][[0, 5]].max() < 0.1
    assert shapes["aside"][0] > 0.4 > 4 * shapes["aside"][5]


def correlated(clips, spread, seed, n=6, m=3, points=20):
    """Draw clouds of points that all move together."""
    rng = np.random.default_rng(seed)
    for _ in range(clips):
        moves = rng.normal(size=(n + m, 1, 2)) + 0.05 * rng.normal(size=(n + m, points, 2))
        yield spread * moves[:n], moves[n:]


def test_flatness_is_tested_rightly_though_points_move_together():
    values = np.array([rank_flatness(list(correlated(15, 1, seed)), seed=0, draws=99).p for seed in range(80)])
    # Uniform p-values: as many below 0.1 and above 0.5 as chance allows.
    assert 1 <= (values <= 0.1).sum() <= 18
    assert 24 <= (values > 0.5).sum() <= 56
    assert 0 < values.min() <= values.max() <= 1


def test_flatness_finds_what_is_not():
    fair, narrow = (rank_flatness(list(correlated(60, spread, 1)), seed=0, draws=199) for spread in (1, 0.4))
    assert narrow.p == pytest.approx(1 / 200)
    assert narrow.unevenness > narrow.by_chance > 0
    assert fair.unevenness < fair.by_chance
    assert narrow.counts.sum() == 60 * 3 * 20 * 2
    assert narrow.counts[[0, -1]].min() > narrow.counts[1:-1].max()
    with pytest.raises(ValueError, match="equally many"):
        rank_flatness([clouds(3, 1, points=2), clouds(4, 1, points=2)], seed=0)
    with pytest.raises(ValueError, match="at least one"):
        rank_flatness([], seed=0)


def test_flatness_counts_as_the_histogram_does():
    samples, truths = clouds(5, 2, points=50)
    counted = rank_flatness([(samples, truths)], seed=0, draws=9).counts
    assert (counted == rank_histogram(samples, truths, seed=3).sum((0, 1))).all()


def test_likelihoods_rank_true_futures():
    true = np.array([[3.0, 0.0], [1.0, 1.0]])
    false = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 2.0]])
    ranking = likelihood_ranking(true, false)
    assert (ranking.value, ranking.n) == (pytest.approx((2.5 / 8 + 6 / 8) / 2), 2)
    rng = np.random.default_rng(0)
    chance = likelihood_ranking(rng.normal(size=(400, 2)), rng.normal(size=(400, 5)))
    assert chance.low is not None
    assert chance.high is not None
    assert chance.low < 0.5 < chance.high
    with unchecked(), pytest.raises(ValueError, match="false ones"):
        likelihood_ranking(true, false[:1])
    with unchecked(), pytest.raises(ValueError, match="true futures"):
        likelihood_ranking(true[0], false)


@unchecked()
def test_clouds_that_do_not_match_are_refused():
    cloud = np.zeros((3, 2, 2))
    for samples, truths in ((cloud, cloud[:, :1]), (cloud[:0], cloud), (cloud, cloud[:0]), (cloud[..., :1], cloud)):
        with pytest.raises(ValueError, match="clouds"):
            energy_score(samples, truths)
    with pytest.raises(ValueError, match="at least 2"):
        variance_and_squared_error(cloud[:1], cloud)
    with pytest.raises(ValueError, match="not finite"):
        energy_score(cloud + np.nan, cloud)
    with pytest.raises(ValueError, match="level"):
        coverage(cloud, cloud, 1.0)
