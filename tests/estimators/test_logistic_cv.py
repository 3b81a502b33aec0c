"""Logistic regression chosen by cross-validation: scikit-learn's scores and choices, optimality, and few programs."""

import jax
import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model as sk
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning, UnsetMetadataPassedError
from sklearn.metrics import get_scorer
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

from jaxlearn.estimators import programs
from jaxlearn.linear_model import LogisticRegression, LogisticRegressionCV

SETTINGS = {"Cs": [0.1, 30.0, 1.0], "cv": 3}
NEW = {"use_legacy_attributes": False, "l1_ratios": (0.0,)}


def data(n_classes=2, n=90, p=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) + 1
    f = (X - 1) @ rng.standard_normal((p, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X, np.array(["a", "b", "c"])[f.argmax(1)], rng.integers(0, 4, n).astype(float)


def theirs(scoring, **settings):
    return sk.LogisticRegressionCV(solver="newton-cholesky", tol=1e-11, scoring=scoring, **(NEW | settings))


def ours(scoring=None, **settings):
    return LogisticRegressionCV(tol=1e-10, scoring=scoring, **settings)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cholesky"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_choices_and_coefficients_are_those_of_scikit_learn(n_classes, solver, weighted):
    X, y, weight = data(n_classes)
    weight = weight if weighted else None
    for scoring in ("accuracy", "neg_log_loss"):
        model = ours(scoring, solver=solver, max_iter=1000, class_weight="balanced", **SETTINGS).fit(X, y, weight)
        other = theirs(scoring, class_weight="balanced", **SETTINGS).fit(X, y, weight)
        assert model.solver_ == solver.removesuffix("-cholesky")
        np.testing.assert_array_equal(model.Cs_, other.Cs_)
        np.testing.assert_allclose(model.scores_, other.scores_, rtol=1e-8)
        np.testing.assert_allclose(model.coefs_paths_, other.coefs_paths_, atol=1e-6)
        assert (model.C_, model.l1_ratio_) == (other.C_, other.l1_ratio_)
        np.testing.assert_allclose(model.coef_, other.coef_, atol=1e-8)
        np.testing.assert_allclose(model.intercept_, other.intercept_, atol=1e-8)
        assert model.n_iter_.shape == other.n_iter_.shape
        assert model.score(X, y, sample_weight=weight) == pytest.approx(other.score(X, y, sample_weight=weight))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_attributes_are_those_of_scikit_learn(n_classes, refit, legacy):
    X, y, _ = data(n_classes)
    settings = SETTINGS | {"refit": refit, "use_legacy_attributes": legacy, "fit_intercept": refit, "l1_ratios": (0.0,)}
    model, other = ours("neg_log_loss", **settings).fit(X, y), theirs("neg_log_loss", **settings).fit(X, y)
    for name in ("C_", "l1_ratio_", "coef_", "intercept_"):
        np.testing.assert_allclose(getattr(model, name), getattr(other, name), atol=1e-7)
        assert np.shape(getattr(model, name)) == np.shape(getattr(other, name))
    assert type(model.C_) is type(other.C_)
    assert model.n_iter_.shape == other.n_iter_.shape
    for name in ("coefs_paths_", "scores_"):
        mine, expected = getattr(model, name), getattr(other, name)
        if legacy:
            assert list(mine) == list(expected)
            mine, expected = (np.stack(list(kept.values())) for kept in (mine, expected))
        np.testing.assert_allclose(mine, expected, atol=1e-6)
    assert model.converged_
    assert 0 <= model.certificate_ <= 1e-10


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_older_spellings():
    X, y, _ = data()
    settings = SETTINGS | {"use_legacy_attributes": True, "l1_ratios": None}
    model, other = ours(**settings).fit(X, y), theirs(None, **settings).fit(X, y)
    assert model.coefs_paths_["b"].shape == other.coefs_paths_["b"].shape == (3, 3, 5)
    assert model.scores_["b"].shape == other.scores_["b"].shape == (3, 3)
    assert model.n_iter_.shape == other.n_iter_.shape == (1, 3, 3)
    settings = {"Cs": [1.0], "cv": 2}
    for penalty, share in (("l1", 1.0), ("l2", 0.0)):
        assert LogisticRegressionCV(penalty=penalty, **settings).fit(X, y).l1_ratio_ == share
    assert LogisticRegressionCV(penalty="elasticnet", l1_ratios=[0.5], **settings).fit(X, y).l1_ratio_ == 0.5
    with pytest.warns(UserWarning, match="only used when penalty is 'elasticnet'"):
        LogisticRegressionCV(penalty="l1", l1_ratios=[0.5], **settings).fit(X, y)


@pytest.mark.parametrize("scoring", ["neg_brier_score", "roc_auc", "f1", get_scorer("accuracy")], ids=str)
def test_other_scorers_see_the_fits(scoring):
    X, y, weight = data()
    y = np.where(y == "a", 0, 1)
    model, other = (make(scoring, **SETTINGS).fit(X, y, weight) for make in (ours, theirs))
    np.testing.assert_allclose(model.scores_, other.scores_, rtol=1e-7)
    assert model.C_ == other.C_
    with pytest.raises(ValueError, match="of positive weight"):
        ours().set_params(cv=[(np.arange(40), np.arange(40, 90))]).fit(X, y, np.r_[np.ones(40), np.zeros(50)])


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_array])
def test_every_fit_is_optimal(kind, data_dtype):
    """``C Σ s_i ∇loss_i + w = 0`` on the training rows, whatever the order and the dtype."""
    X, y, weight = data(3)
    X = np.where(np.abs(X) > 0.5, X, 0).astype(data_dtype)
    tol = 1e-4 if data_dtype == np.float32 else 1e-9
    folds = [(np.r_[0:60, 0:5], np.arange(60, 90)), (np.arange(90) > 30, np.arange(90) <= 30)]  # repeated rows, masks
    model = LogisticRegressionCV(Cs=[5.0, 0.1], cv=folds, tol=tol).fit(kind(X), y, weight)
    assert model.coefs_paths_.dtype == model.coef_.dtype == data_dtype
    assert model.converged_
    for fold, (train, test) in enumerate(folds):
        A, t, s = X[train].astype(float), (y[train, None] == model.classes_[None]).astype(float), weight[train]
        for i, C in enumerate(model.Cs_):
            one = LogisticRegression()
            one.classes_, one.n_features_in_ = model.classes_, 4
            one.coef_, one.intercept_ = np.split(model.coefs_paths_[fold, 0, i].astype(float), [4], axis=1)
            one.intercept_ = one.intercept_.ravel()
            slope = s[:, None] * (one.predict_proba(A) - t)
            gradient = (C * slope.T @ A + one.coef_) / (C * s.sum())
            assert np.abs(gradient).max() <= 2 * tol
            assert np.abs(slope.sum(0)).max() / s.sum() <= 2 * tol
            right = one.predict(X[test].astype(float)) == y[test]
            assert model.scores_[fold, 0, i] == pytest.approx(np.average(right, weights=weight[test]), rel=1e-6)


def test_selection_on_folds_with_a_working_set_that_grows(monkeypatch):
    monkeypatch.setattr(programs, "ALL_FEATURES", 8)
    monkeypatch.setattr(programs, "WORKING_SET", 2)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 12))
    y = (X[:, :6].sum(1) + rng.logistic(size=80) > 0).astype(int)
    weight = rng.integers(0, 3, 80).astype(float)
    settings = {"Cs": [1.0, 0.05, 10.0], "l1_ratios": [0.0, 0.5, 1.0], "cv": 2, "scoring": "neg_log_loss"}
    model = LogisticRegressionCV(tol=1e-9, **settings).fit(X, y, weight)
    assert model.solver_ == "newton, prox-newton"
    assert model.coefs_paths_.shape == (2, 3, 3, 1, 13)
    assert model.converged_
    for fold, (train, test) in enumerate(StratifiedKFold(2).split(X, y)):
        for ratio, C in ((1, 0), (2, 2), (2, 1)):
            one = LogisticRegression(C=model.Cs_[C], l1_ratio=model.l1_ratios_[ratio], tol=1e-10)
            one.fit(X[train], y[train], weight[train])
            found = model.coefs_paths_[fold, ratio, C, 0]
            np.testing.assert_allclose(found, np.r_[one.coef_[0], one.intercept_], atol=1e-3)
            score = get_scorer("neg_log_loss")(one, X[test], y[test], sample_weight=weight[test])
            assert model.scores_[fold, ratio, C] == pytest.approx(score, rel=1e-4)
    best = np.unravel_index(model.scores_.mean(0).argmax(), (3, 3))
    assert (model.l1_ratio_, model.C_) == (model.l1_ratios_[best[0]], model.Cs_[best[1]])
    assert np.isin(model.coefs_paths_[:, 2, 1], 0).sum() > 4  # the strongest l1 penalty selects


def test_programs_do_not_grow_with_the_grid(count_compiles):
    X, y, _ = data()
    jax.clear_caches()
    with count_compiles() as few:
        LogisticRegressionCV(Cs=2, cv=2).fit(X, y)
    with count_compiles() as many:
        LogisticRegressionCV(Cs=7, cv=4).fit(X, y)
    assert [name for name in many.names if name not in few.names] == []
    assert many.count <= few.count
    with count_compiles() as second:
        LogisticRegressionCV(Cs=7, cv=4, scoring="neg_log_loss").fit(*data(seed=1)[:2])
    assert second.count == 0, second.names
    LogisticRegressionCV(Cs=2, cv=2, l1_ratios=[0.5]).fit(X, y)
    with count_compiles() as third:
        LogisticRegressionCV(Cs=[1.0, 9.0], cv=2, l1_ratios=[0.2, 0.7, 1.0]).fit(*data(seed=1)[:2])
    assert third.count == 0, third.names


def test_unconverged_fits_are_counted():
    X, y, _ = data()
    with pytest.warns(
        ConvergenceWarning, match=r"LogisticRegressionCV, the worst of \d of 9 fits: gradient norm.*did not converge"
    ):
        model = LogisticRegressionCV(max_iter=2, tol=1e-12, refit=False, **SETTINGS).fit(X, y)
    assert not model.converged_
    assert model.certificate_ > 1e-12


def test_no_penalty_is_the_largest_C():
    X, y, _ = data(n=300)
    model = ours("neg_log_loss", Cs=[np.inf, 1e-5], cv=2).fit(X, y)
    other = sk.LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(X, y)
    assert np.isinf(model.C_)
    np.testing.assert_allclose(model.coef_, other.coef_, rtol=1e-6)


def test_few_or_many_coefficients_decide_the_solver():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    for p, solver in ((5, "newton"), (200, "lbfgs")):
        model = LogisticRegressionCV(Cs=2, cv=2, tol=1e-3).fit(rng.standard_normal((60, p)), y)
        assert model.solver_ == solver


def test_classes_that_a_fold_lacks():
    X, y, _ = data(3)
    order = np.argsort(y, kind="stable")
    model = LogisticRegressionCV(Cs=3, cv=KFold(3)).fit(X[order], y[order])
    assert model.coefs_paths_.shape == (3, 1, 3, 3, 5)
    two = np.arange(60)
    with pytest.raises(ValueError, match="Fold 0 trains on one class only"):
        LogisticRegressionCV(cv=[(two[:30], two[30:])], l1_ratios=[1.0]).fit(X[:60], two >= 30)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"Cs": []}, "Cs must be"),
        ({"Cs": [1.0, -1.0]}, "Cs must be"),
        ({"l1_ratios": [0.5, 1.5]}, "between 0 and 1"),
        ({"l1_ratios": []}, "between 0 and 1"),
        ({"l1_ratios": [1.0], "Cs": [np.inf]}, "Cs=inf"),
        ({"l1_ratios": [1.0], "solver": "lbfgs"}, "supports only 'l2'"),
        ({"l1_ratios": [0.0, 0.5, 1.0], "solver": "liblinear"}, "Only 'saga' solver"),
        ({"dual": True}, "dual=True"),
        ({"intercept_scaling": 2.0}, "intercept_scaling"),
        ({"class_weight": {"z": 2.0}}, "class labels as keys|not in class_weight"),
        ({"solver": "sketchy-svrg"}, "solver"),
        ({"scoring": "nonsense"}, "scoring"),
    ],
)
def test_what_is_refused(settings, message):
    X, y, _ = data()
    with pytest.raises(ValueError, match=message):
        LogisticRegressionCV(**settings).fit(X, y)


def test_an_older_spelling_is_refused_without_a_share():
    X, y, _ = data()
    with (
        pytest.warns(FutureWarning, match="'penalty' was deprecated"),
        pytest.raises(ValueError, match="between 0 and 1"),
    ):
        LogisticRegressionCV(l1_ratios=None, penalty="elasticnet").fit(X, y)


def test_metadata_is_routed_to_the_splitter_and_the_scorer():
    X, y, weight = data()
    groups = np.arange(90) % 3
    with pytest.raises(ValueError, match="enable_metadata_routing"):
        LogisticRegressionCV(cv=GroupKFold(3)).fit(X, y, groups=groups)
    with config_context(enable_metadata_routing=True):
        plain, requested = (get_scorer("accuracy").set_score_request(sample_weight=asked) for asked in (False, True))
        models = [ours(s, Cs=2, cv=GroupKFold(3)).fit(X, y, weight, groups=groups) for s in (plain, requested)]
        others = [theirs(s, Cs=2, cv=GroupKFold(3)).fit(X, y, weight, groups=groups) for s in (plain, requested)]
        for model, other in zip(models, others, strict=True):
            np.testing.assert_allclose(model.scores_, other.scores_)
        assert models[1].score(X, y, sample_weight=weight) == others[1].score(X, y, sample_weight=weight)
        with pytest.raises(TypeError, match="unexpected argument"):
            models[0].score(X, y, sample_weight=weight)
        with pytest.raises(UnsetMetadataPassedError):
            LogisticRegressionCV().fit(X, y, weight)
