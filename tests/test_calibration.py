"""Calibration against a Newton iteration and pool-adjacent-violators, written here."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ResultError
from ensemble.fusion import calibration
from ensemble.fusion.calibration import Line, Steps


def drawn(seed=0, n=400, gaps=(1.0, 2.5)):
    """(M, n) similarities by members of different worth, and labels."""
    rng = np.random.default_rng(seed)
    same = rng.random(n) < 0.3
    return np.stack([rng.normal(gap * same, 1) for gap in gaps]), same


def targets(same):
    yes, no = same.sum(), (~same).sum()
    return np.where(same, (yes + 1) / (yes + 2), 1 / (no + 2))


def newton(x, same):
    """Slope and intercept of the logistic regression on Platt's targets."""
    a, t = np.column_stack([x, np.ones(len(x))]), targets(same)
    theta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-a @ theta))
        theta += np.linalg.solve(a.T @ (a * (p * (1 - p))[:, None]), a.T @ (t - p))
    return theta


def violators_pooled(x, same):
    """The isotonic fit at each x: equal x are one block, and blocks that fall are merged."""
    t = targets(same)
    blocks = [[sorted(np.flatnonzero(x == value)), 0.0] for value in sorted(set(x.tolist()))]
    done = []
    for rows, _ in blocks:
        done.append([rows, t[rows].mean()])
        while len(done) > 1 and done[-2][1] >= done[-1][1]:
            rows = done[-2][0] + done[-1][0]
            done[-2:] = [[rows, t[rows].mean()]]
    out = np.empty(len(x))
    for rows, mean in done:
        out[rows] = mean
    return out


def logit(p):
    return np.log(p / (1 - p))


@pytest.mark.parametrize("seed", range(3))
def test_logistic_is_newtons(seed):
    sims, same = drawn(seed)
    found = calibration.fit(sims, same, name="logistic")
    for curve, x in zip(found.curves, sims, strict=True):
        np.testing.assert_allclose([curve.slope, curve.intercept], newton(x, same), rtol=1e-6)
    summed = sum(curve.slope * x + curve.intercept for curve, x in zip(found.curves, sims, strict=True))
    np.testing.assert_allclose([found.total.slope, found.total.intercept], newton(summed, same), rtol=1e-6)
    assert (found.pairs, found.same) == (400, same.sum())


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=2, max_size=60))
def test_isotonic_is_pooled_violators(pairs):
    x, same = np.array([a for a, _ in pairs], float), np.array([b for _, b in pairs])
    if same.all() or not same.any():
        return
    (curve,) = calibration.fit(x[None], same).curves
    np.testing.assert_allclose(curve(x), logit(violators_pooled(x, same)), atol=1e-9)
    below, above = curve([-5.0, 99.0])
    assert below == curve(x.min()) and above == curve(x.max())


def test_log_odds_are_summed_by_weights():
    sims, same = drawn()
    found = calibration.fit(sims, same, name="logistic", weights=[2, 0.5])
    (a, b), (c, d) = (newton(x, same) for x in sims)
    fused = 2 * (a * sims[0] + b) + 0.5 * (c * sims[1] + d)
    slope, intercept = newton(fused, same)
    np.testing.assert_allclose(found.log_odds(sims), slope * fused + intercept, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.probability(sims), 1 / (1 + np.exp(-(slope * fused + intercept))), rtol=1e-5)
    other = slope * (a * sims[0] + b) + intercept
    np.testing.assert_allclose(found.log_odds(sims, [1, 0]), other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", calibration.NAMES)
def test_a_members_order_changes_in_ties_only(name):
    sims, same = drawn(4)
    found = calibration.fit(sims, same, name=name)
    for curve, x in zip(found.curves, sims, strict=True):
        assert (np.diff(curve(np.sort(x))) >= 0).all()


def test_isotonic_asks_for_the_order_alone():
    """Other similarities of one member in the same order: the same evidence, of new pairs too."""
    sims, same = drawn(1)
    fresh, _ = drawn(2)
    bent = [np.stack([x[0], np.exp(3 * x[1]) - 7]) for x in (sims, fresh)]
    one, other = calibration.fit(sims, same), calibration.fit(bent[0], same)
    np.testing.assert_array_equal(one.log_odds(fresh), other.log_odds(bent[1]))
    line, bent_line = (calibration.fit(x, same, name="logistic") for x in (sims, bent[0]))
    assert not np.allclose(line.log_odds(fresh), bent_line.log_odds(bent[1]))


@pytest.mark.parametrize("name", calibration.NAMES)
def test_probabilities_are_as_frequent_as_they_say(name):
    """Of other pairs by two members that repeat one another, whose log-odds count twice in a plain sum."""
    sims, same = drawn(5, 20_000, (1.5, 1.0))
    sims[1] = sims[0]
    half = np.arange(20_000) < 10_000
    p = calibration.fit(sims[:, half], same[half], name=name).probability(sims[:, ~half])
    for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (p >= low) & (p <= high)
        assert inside.sum() > 200 and abs(p[inside].mean() - same[~half][inside].mean()) < 0.05


def test_a_member_that_is_wrong_or_constant_says_nothing():
    sims, same = drawn()
    found = calibration.fit(np.stack([-sims[1], np.full(400, 0.3)]), same, name="logistic")
    prior = np.log(same.sum() / (~same).sum())
    assert found.curves == (Line(0.0, prior), Line(0.0, prior))
    (flat,) = calibration.fit(np.full((1, 400), 0.3), same).curves
    assert len(flat.starts) == 1


@pytest.mark.parametrize("name", calibration.NAMES)
def test_a_file_gives_the_same_numbers(tmp_path, name):
    sims, same = drawn()
    found = calibration.fit(sims, same, name=name)
    calibration.save(tmp_path / "c.json", found)
    assert calibration.load(tmp_path / "c.json") == found
    assert isinstance(found.curves[0], Steps if name == "isotonic" else Line)


def test_what_is_no_calibration_is_refused(tmp_path):
    (tmp_path / "c.json").write_text('{"curves": 3}')
    for name in ("c.json", "none.json"):
        with pytest.raises(ResultError, match=f"{name}: no calibration"):
            calibration.load(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "platt"}, "unknown calibration 'platt'; there are isotonic, logistic"),
        ({"same": np.ones(400, bool)}, "each of 400 labelled pairs shows one identity"),
        ({"same": np.zeros(400, bool)}, "each of 400 labelled pairs shows two identities"),
        ({"sims": np.zeros((0, 3)), "same": np.zeros(0, bool)}, r"want finite|shows"),
        ({"sims": np.full((2, 400), np.nan)}, "want finite"),
        ({"weights": [1]}, "want one each"),
        ({"weights": [1, -1]}, "want one each, >= 0"),
    ],
)
def test_bad_input_is_told(change, said):
    sims, same = drawn()
    given = {"sims": sims, "same": same} | change
    with pytest.raises(ValueError, match=said):
        calibration.fit(given.pop("sims"), given.pop("same"), **given)
