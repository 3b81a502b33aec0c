"""What is beside jaxlearn in a race of factorizations: the judge, the published algorithm, other libraries, the data."""

from __future__ import annotations

from functools import partial
from itertools import islice

import numpy as np
import pytest
from sklearn import decomposition, linear_model

from benchmarks import data, factorization_peers
from benchmarks.evaluate import Score, codes_gap, dictionary_objective, elastic_net_gap, relative_frobenius
from benchmarks.online_factorization_baseline import Baseline, ball_norm, project, shuffled


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# The judge -----------------------------------------------------------------------------------------------------------


def factors(rng, n=30, p=15, k=8, ball_l1_ratio=0.0):
    """Rows, and a dictionary on the sphere whose atoms are correlated."""
    D = rng.normal(size=(k, p)) + rng.normal(size=p)
    X = rng.normal(size=(n, k)) * (rng.random((n, k)) < 0.4) @ D + 0.3 * rng.normal(size=(n, p))
    return X, factorization_peers.start(D, k, ball_l1_ratio=ball_l1_ratio)


def best_codes(D, X, l1, l2, positive):
    if l1 == 0 and not positive:
        return np.linalg.solve(D @ D.T + l2 * np.eye(len(D)), D @ X.T).T
    alpha = (l1 + l2) / X.shape[1]
    model = linear_model.ElasticNet(
        alpha, l1_ratio=l1 / (l1 + l2), fit_intercept=False, positive=positive, tol=1e-13, max_iter=100_000
    )
    return np.array([model.fit(D.T, x).coef_ for x in X])


def value_of_codes(A, D, X, l1, l2):
    return 0.5 * np.square(X - A @ D).sum(1) + l1 * np.abs(A).sum(1) + 0.5 * l2 * np.square(A).sum(1)


PENALTIES = [(0.3, 0.0, False), (0.3, 0.0, True), (0.3, 0.2, False), (0.3, 0.2, True), (0.0, 0.2, False)]


@pytest.mark.parametrize(("l1", "l2", "positive"), PENALTIES)
def test_dictionary_is_worth_the_objective_of_its_best_codes(rng, l1, l2, positive):
    X, D = factors(rng)
    X[3], D[2] = 0, 0
    best = value_of_codes(best_codes(D, X, l1, l2, positive), D, X, l1, l2).mean()
    objective, gap = dictionary_objective(D.astype(np.float32), X, l1=l1, l2=l2, positive=positive)
    unit = 0.5 * np.square(X).sum(1).mean()
    assert 0 <= gap <= 1e-4 * unit
    assert -1e-6 * unit <= objective - best <= gap + 1e-6 * unit  # D was rounded


@pytest.mark.parametrize(("l1", "l2", "positive"), PENALTIES)
def test_gap_of_codes_vanishes_at_the_optimum_and_bounds_the_excess(rng, l1, l2, positive):
    X, D = factors(rng)
    A, penalty = best_codes(D, X, l1, l2, positive), {"l1": l1, "l2": l2, "positive": positive}
    unit = 0.5 * np.square(X).sum(1)
    assert np.all(codes_gap(A, D, X, **penalty) <= 1e-10 * unit)
    for size in (1e-3, 0.1, 10):
        worse = A + size * rng.normal(size=A.shape)
        worse = np.abs(worse) if positive else worse
        excess = value_of_codes(worse, D, X, l1, l2) - value_of_codes(A, D, X, l1, l2)
        assert np.all(codes_gap(worse, D, X, **penalty) >= excess - 1e-10 * unit)
    if l2 == 0 and not positive:  # a row of codes is a Lasso on the atoms
        one = [len(x) * elastic_net_gap(D.T, x, a, l1 / len(x)) for a, x in zip(worse, X, strict=True)]
        np.testing.assert_allclose(codes_gap(worse, D, X, **penalty), one, rtol=1e-12)
    if positive:
        A[0, 0] = -1e-9
        assert codes_gap(A, D, X, **penalty)[0] == np.inf


@pytest.mark.parametrize("ball_l1_ratio", [0.0, 0.4, 1.0])
def test_atoms_outside_of_the_ball_are_refused(rng, ball_l1_ratio):
    X, D = factors(rng, ball_l1_ratio=ball_l1_ratio)
    judge = partial(dictionary_objective, X=X, l1=0.3, ball_l1_ratio=ball_l1_ratio)
    np.testing.assert_allclose([ball_norm(d, ball_l1_ratio) for d in D], 1, rtol=1e-12)
    judge(D * (1 + 5e-6))
    for bad in (2e-5, np.nan):
        with pytest.raises(ValueError, match="outside of the ball"):
            judge(np.where(np.arange(len(D))[:, None] == 2, D * (1 + bad), D))


def test_relative_frobenius(rng):
    W, H = rng.random((50, 3)), rng.random((3, 20))
    assert relative_frobenius(W, H, W @ H) < 1e-14
    assert relative_frobenius(0.9 * W, H, W @ H) == pytest.approx(0.1)


# The published algorithm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
def test_projection_is_the_nearest_point_of_the_ball(rng, l1_ratio):
    for scale in (0.01, 0.3, 5):
        v = scale * rng.normal(size=40)
        near = project(v, 0.7, l1_ratio)
        norm = ball_norm(near, l1_ratio)
        assert norm <= 0.7 * (1 + 1e-12)
        if ball_norm(v, l1_ratio) <= 0.7:
            np.testing.assert_array_equal(near, v)
            continue
        assert norm == pytest.approx(0.7, rel=1e-12)
        # v − near is normal to the ball: among its points, near is the farthest in that direction
        others = np.vstack([rng.normal(size=(200, 40)), 100 * np.eye(40), -100 * np.eye(40), near + 1e-3 * v])
        for other in others:
            assert (v - near) @ (project(other, 0.7, l1_ratio) - near) <= 1e-12


def textbook(X, D, batches, options):
    """Dense, in double precision, from the definitions; random numbers are drawn in the order of `Baseline`."""
    alpha, l1_ratio, ball = options["alpha"], options["l1_ratio"], options["ball_l1_ratio"]
    D, (k, p), r, rng = D.astype(float), D.shape, options["reduction"], np.random.default_rng(0)
    history, means, t, seen = [], {}, 0, np.zeros(len(X))
    for rows, _ in batches:
        M = np.diag((rng.random(p) < 1 / r) if r > 1 else np.ones(p)).astype(float)  # the mask
        A = []
        for i in rows:
            seen[i] += 1
            estimates = []
            for name, other in (("correlation", X[i]), ("gram", D.T)):
                full, masked, fresh = D @ other, r * D @ M @ other, seen[i] ** -options["averaging_rate"]
                means[name, i] = (1 - fresh) * means.get((name, i), 0) + fresh * masked
                estimates.append({"full": full, "masked": masked, "averaged": means[name, i]}[options[name]])
            b, G = estimates
            a = np.linalg.solve(G + alpha * np.eye(k), b)
            change = l1_ratio > 0
            while change:
                before = a.copy()
                for j in range(k):
                    z = b[j] - G[j] @ a + G[j, j] * a[j]
                    low = 0 if options["positive_codes"] else min(z + alpha * l1_ratio, 0)
                    a[j] = (max(z - alpha * l1_ratio, 0) + low) / (G[j, j] + alpha * (1 - l1_ratio))
                change = np.abs(a - before).max() > 1e-14 * np.abs(a).max()
            A.append(a)
        weight = 1 - np.prod([1 - s ** -options["learning_rate"] for s in range(t + 1, t + len(rows) + 1)])
        t, history = t + len(rows), [(w * (1 - weight), *m) for w, *m in history] + [(weight, np.array(A), X[rows])]
        C, B = (sum(w * m[0].T @ m[which] / len(m[0]) for w, *m in history) for which in (0, 1))
        for j in rng.permutation(k):
            target = M @ (D[j] + (B[j] - C[j] @ D) / C[j, j])
            target = np.maximum(target, 0) if options["positive_atoms"] else target
            held = D[j] - M @ D[j]
            D[j] = held + project(target, 1 - ball_norm(held, ball), ball)
    return D


DEFAULTS = {
    "alpha": 0.3,
    "l1_ratio": 0.0,
    "ball_l1_ratio": 0.0,
    "reduction": 1,
    "correlation": "masked",
    "gram": "masked",
    "positive_codes": False,
    "positive_atoms": False,
    "learning_rate": 0.92,
    "averaging_rate": 0.76,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"l1_ratio": 1.0, "learning_rate": 0.76},
        {"l1_ratio": 0.5, "ball_l1_ratio": 0.5, "gram": "full"},
        {"l1_ratio": 1.0, "positive_codes": True, "positive_atoms": True},
        {"reduction": 3, "ball_l1_ratio": 1.0},
        {"reduction": 3, "l1_ratio": 1.0},
        {"reduction": 3, "gram": "full", "correlation": "full", "l1_ratio": 1.0},
        {"reduction": 1.5, "gram": "full", "correlation": "averaged"},
        {"reduction": 3, "gram": "averaged", "correlation": "averaged"},
    ],
    ids=str,
)
def test_baseline_is_the_published_algorithm(rng, options, dtype):
    options = DEFAULTS | options
    X, D = factors(rng, n=60, p=30, k=5, ball_l1_ratio=options["ball_l1_ratio"])
    X, D = ((np.abs(M) if options["positive_atoms"] else M).astype(dtype) for M in (X, D))
    batches = list(shuffled(X, 12, 2, seed=1))
    fit = Baseline(D, len(X), tol=0, max_sweeps=2000, **options)  # until codes stand still
    *_, (seconds, n_seen, found) = fit.fit(batches)
    assert found.dtype == dtype
    assert n_seen == 120
    assert seconds > 0
    expected = textbook(X.astype(float), D, batches, options)
    assert np.linalg.norm(expected - D) > 0.05 * np.linalg.norm(D)  # it has learned
    # codes lose the condition of their problem; by coordinate descent twice, as steps that round to 0 come to a stop early
    condition = max(np.linalg.cond(d @ d.T) for d in (D, expected)) ** (1 + (options["l1_ratio"] > 0))
    np.testing.assert_allclose(found, expected, atol=10 * condition * np.finfo(dtype).eps)


def test_masked_atoms_stay_in_the_ball(rng):
    X, D = factors(rng, n=400, p=60, k=6, ball_l1_ratio=0.5)
    fit = Baseline(D, len(X), alpha=0.1, l1_ratio=1.0, reduction=4, ball_l1_ratio=0.5)
    for _ in fit.fit(shuffled(X, 20, 3)):
        used = np.array([ball_norm(d, 0.5) for d in fit.D])
        np.testing.assert_allclose(used + fit.leftover, 1, rtol=1e-12)
    assert dictionary_objective(fit.D, X, l1=0.1, ball_l1_ratio=0.5) < dictionary_objective(
        D, X, l1=0.1, ball_l1_ratio=0.5
    )


def test_masked_codes_are_as_good_as_asked_for_what_they_see(rng):
    X, D = factors(rng, n=100)
    X[:, 5:] *= 100  # most of a row is not seen
    mask, tol, scale = np.arange(5), 1e-3, np.sqrt(3)
    fit = Baseline(D, 100, alpha=0.3, l1_ratio=1.0, reduction=3, tol=tol, max_sweeps=10_000)
    A = fit._code(np.arange(100), X, mask)
    seen = scale * X[:, mask]
    gap = codes_gap(A, scale * D[:, mask], seen, l1=0.3)
    assert np.all(gap <= tol * np.square(seen).sum(1) * (1 + 1e-9))
    assert gap.max() > 1e-6 * tol  # it stopped because it was asked to


# Other libraries' curves ---------------------------------------------------------------------------------------------


def test_clock_stands_still_while_it_copies(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(factorization_peers, "perf_counter", lambda: now[0])

    class Slow:
        def __array__(self, dtype=None, copy=None):
            now[0] += 100
            return np.zeros(1)

    clock = factorization_peers.Clock([10, 15, 40], budget=7)
    for n_seen in (8, 20, 30, 40):
        now[0] += 2
        if n_seen < 40:
            clock.look(n_seen, Slow())
    with pytest.raises(TimeoutError):
        clock.look(40, Slow())
    assert [(s, n) for s, n, _ in clock.curve] == [(4, 20), (8, 40)]


@pytest.mark.parametrize("algorithm", ["cd", "lars"])
def test_curve_of_scikit_learn_ends_in_its_fit(rng, algorithm):
    X, D = factors(rng, n=300)
    options = {"fit_algorithm": algorithm, "batch_size": 64, "max_iter": 3, "n_jobs": None}
    curve = factorization_peers.minibatch_dictionary(X, D, 0.1, at=[64, 300, 400], **options)
    model = decomposition.MiniBatchDictionaryLearning(len(D), alpha=0.1, dict_init=D.copy(), random_state=0, **options)
    np.testing.assert_array_equal(curve[-1].components, model.fit(X).components_)
    assert [n for _, n, _ in curve[:3]] == [64, 300, 428]
    assert len({n for _, n, _ in curve}) == len(curve)
    judged = factorization_peers.judge(curve, partial(dictionary_objective, X=X, l1=0.1))
    assert judged[-1].objective < judged[0].objective
    assert factorization_peers.time_to(judged, judged[-1].objective) <= judged[-1].seconds
    assert factorization_peers.time_to(judged, 0) == np.inf


@pytest.mark.parametrize("algorithm", ["lasso_cd", "lasso_lars"])
def test_alpha_of_scikit_learn_is_l1_of_the_judge(rng, algorithm):
    X, D = factors(rng)
    seconds, A = factorization_peers.sparse_codes(D.astype(np.float32), X, 0.3, algorithm, n_jobs=None)
    assert seconds > 0
    assert np.all(codes_gap(A, D, X, l1=0.3) <= 1e-6 * np.square(X).sum(1))  # D was rounded


def test_curve_of_the_baseline_ends_in_its_fit(rng):
    X, D = factors(rng, n=300)
    curve = factorization_peers.baseline(X, D, 0.1, at=[30, 100], batch_size=30, n_epochs=2, l1_ratio=1.0)
    assert [n for _, n, _ in curve] == [30, 120, 600]
    *_, (_, _, found) = Baseline(D, 300, alpha=0.1, l1_ratio=1.0).fit(shuffled(X, 30, 2))
    np.testing.assert_array_equal(curve[-1].components, found)


@pytest.mark.parametrize("model", [decomposition.NMF, decomposition.MiniBatchNMF])
def test_curve_of_nonnegative_factors_falls(rng, model):
    X = rng.random((100, 4)) @ rng.random((4, 20))
    W, H = factorization_peers.nonnegative_start(X, 4)
    curve = factorization_peers.nonnegative(partial(model, 4), X, W, H, passes=(1, 4, 16))
    judged = factorization_peers.judge(curve, lambda factors: Score(relative_frobenius(*factors, X), 0.0))
    errors = [point.objective for point in judged]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.6 * errors[0]
    assert [n for _, n, _ in curve] == [100, 400, 1600]


def test_marks_grow_to_the_end():
    marks = factorization_peers.marks(10_000, first=100, ratio=2)
    assert marks == [100, 200, 400, 800, 1600, 3200, 6400, 10_000]


# The data ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["files", "recipes"])
def origin(request, monkeypatch):
    if request.param == "recipes":
        monkeypatch.setenv("JAXLEARN_DATA", "/nonexistent")
    elif not (data._has("natural_images") and data._has("jasper_ridge")):
        pytest.skip("the files are not here")


@pytest.mark.parametrize(
    ("recipe", "p"),
    [
        (partial(data.patches, 500, 8), 64),
        (partial(data.patches, 500, 8, color=True), 192),
        (partial(data.hyperspectral, 500, 2), 792),
        (partial(data.hyperspectral, 500, 2, centered=False), 792),
    ],
)
def test_patches_are_scaled_and_repeat_with_their_seed(origin, recipe, p):
    X, heldout, _ = recipe(n_heldout=50, seed=1)
    assert (X.shape, heldout.shape, X.dtype, heldout.dtype) == ((500, p), (50, p), np.float32, np.float32)
    assert np.square(X).sum(1).mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(recipe(n_heldout=50, seed=1)[0], X)
    assert not np.array_equal(recipe(n_heldout=50, seed=2)[0], X)
    if recipe.keywords.get("centered", True):
        channels = {64: 1, 192: 3, 792: 198}[p]
        np.testing.assert_allclose(X.reshape(500, -1, channels).mean(1), 0, atol=1e-5)
    else:
        assert X.min() >= 0


def test_what_is_held_out_shares_no_pixel():
    pixels = np.arange(60 * 70, dtype=np.float32).reshape(60, 70, 1)
    kept, other = zip(*data._divide(pixels, 4), strict=True)
    X, heldout = (data._cut(images, n, 4, np.random.default_rng(0)) for images, n in ((kept, 500), (other, 100)))
    assert np.intersect1d(X, heldout).size == 0
    first = X[:, 0, 0]
    assert len(np.unique(first)) == 500  # no patch twice
    offsets = (np.arange(4)[:, None] * 70 + np.arange(4)).ravel()
    np.testing.assert_array_equal(X[:, :, 0], first[:, None] + offsets)


def test_records_depend_on_their_number_alone():
    records = list(islice(data.fmri_records(500, 5, seed=3), 3))
    np.testing.assert_array_equal(next(data.fmri_records(500, 5, seed=3, first=2)), records[2])
    assert all(200 <= len(record) <= 1200 for record in records)
    n = len(records[0]) + len(records[1])
    X, heldout, _ = data.fmri(n, 500, 5, n_heldout=900, seed=3)
    np.testing.assert_array_equal(X, np.concatenate(records[:2]))
    assert heldout.shape == (900, 500)
    assert X.dtype == np.float32
    assert 0.5 < np.square(X).sum(1).mean() < 2
    centered = X - X.mean(0)
    alike = np.sum(centered[1:] * centered[:-1]) / np.sum(centered * centered)
    assert 0.2 < alike < 0.6  # in time: the share of the codes, times 0.8


def test_spectra_are_nonnegative_and_of_rank_k_but_for_noise():
    X, _ = data.spectra(1500, 200, 8)
    assert X.dtype == np.float32
    assert X.min() >= 0
    power = np.linalg.svd(X, compute_uv=False) ** 2
    assert 1e-4 < power[8:].sum() / power.sum() < 1e-2


def test_ratings_are_split_and_some_items_popular():
    known, heldout, _ = data.ratings(300, 200, 6000)
    assert (known.nnz, heldout.nnz, known.dtype) == (5400, 600, np.float32)
    assert known.multiply(heldout).nnz == 0
    assert known.data.min() >= 1
    assert known.data.max() <= 5
    counts = np.bincount(known.indices, minlength=200)
    assert counts[:20].sum() > 3 * counts[-20:].sum()
