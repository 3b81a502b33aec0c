"""scikit-learn's own tests of its estimators, run on these; the list says which of them do not hold, and why."""

from __future__ import annotations

import faulthandler
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.cluster
import sklearn.decomposition
import sklearn.linear_model
import sklearn.neighbors
import sklearn.neural_network
import sklearn.tests

FIXTURES = """
import pathlib

import jax
import numpy as np
import pytest

@pytest.fixture(scope="session")
def global_random_seed():
    return 42

@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request):
    return request.param

@pytest.fixture(autouse=True)
def few_mappings(request):
    # as in conftest.py: each program is some mappings of memory, without which the compiler dies
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\\n") > 30_000:
        jax.clear_caches()
"""
# Private methods of scikit-learn's classes that its tests make their data with.
BORROWED = {
    "test_glm": """
import jaxlearn.linear_model, sklearn.linear_model
for name in ("PoissonRegressor", "GammaRegressor", "TweedieRegressor"):
    getattr(jaxlearn.linear_model, name)._get_loss = getattr(sklearn.linear_model, name)._get_loss
""",
    # its tests leave out what is to have another default in scikit-learn 1.10, which is the default here
    "test_logistic": """
import jaxlearn.linear_model
jaxlearn.linear_model.LogisticRegressionCV.__init__.__kwdefaults__["l1_ratios"] = None
""",
}
# Where some tests of a file are run: those that say this.
ABOUT = {"test_logistic": "LogisticRegressionCV"}
PLUGIN = """
def pytest_collection_modifyitems(items):
    import inspect
    import pytest
    items[:] = [item for item in items if ABOUT in inspect.getsource(item.function)]
    for item in items:
        for pattern, reason in KNOWN.items():
            if pattern in item.name:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=False))
"""
OF_PCA = {
    "test_pca_svd_solver_auto": "asks a private attribute which solver scikit-learn would have chosen",
    "test_sparse_pca_solver_error": "sparse rows and the randomized solver go together here",
    "test_pca_score[": "the whitened model is another Gaussian there: its components are scaled twice in its covariance",
}
OF_SPARSE_PCA = {
    "test_spca_early_stopping": "as many components as features start as these features: nothing moves in the first epoch",
}
ZERO = "a penalty that leaves nothing leaves exactly zero here, and zero components are refused when they are given, as there"
NEARLY_ZERO = "asks for seven digits of 1e-10, which a penalty that leaves nothing has not yet brought to zero"
OF_NMF = {
    f"test_nmf_sparse_input[{alpha}-1.0-{kind}_{of}-MiniBatchNMF": NEARLY_ZERO
    for alpha in ("1.0", "same")
    for kind in ("csc", "csr")
    for of in ("matrix", "array")
}
OF_NMF |= {
    "test_non_negative_factorization_consistency[1.0-1.0-cd": ZERO,
    "test_non_negative_factorization_consistency[same-1.0-cd": ZERO,
    "test_nmf_minibatchnmf_equivalence[2]": "of the squared error batches are learnt from by coordinate descent",
    "test_minibatch_nmf_partial_fit": "there both fits write to the H that is given: one array is compared with itself",
}
ORDER = "asks for what some orders of the rows lead to, here as there, and orders differ"
OF_SGD = {
    "test_class_weights": ORDER,
    "test_sample_weights": ORDER,
    "test_tol_parameter": ORDER,
    "test_multi_thread_multi_class_and_early_stopping": ORDER,
    "test_validation_mask_correctly_subsets": "replaces a private class of scikit-learn",
    "test_partial_fit_oneclass": "asks that coefficients are written in place",
    "test_sgd_oneclass_vs_linear_oneclass_offsets_match": "a last iterate, 6e-6 off; 1.3e-6 is asked of one order of rows",
    "test_partial_fit_equal_fit[optimal-S": "the fit diverges, and is begun anew with shorter steps",
}
OF_PASSIVE_AGGRESSIVE = {
    "test_classifier_accuracy[": ORDER,
    "test_class_deprecation": "these classes are not deprecated here",
}
WORDS = "asks for the words of a message"
PASSES = (
    "counts the epochs of coordinate descent: a pass over X is enough here, and one is made to certify a warm start"
)
OF_COORDINATE_DESCENT = {
    "test_enet_nonfinite_params": WORDS,
    "test_warm_start": PASSES,
    "test_lasso_dual_gap": "asks for seven digits of a gap of 1e-15",
    "test_random_descent": "asks for seven digits of what a tolerance of 1e-9 leaves open; one of both fits is exact here",
    "test_check_input_false": "the input is always checked",
    "test_enet_copy_X_False_check_input_False": "X is never written to",
    "test_lassoCV_does_not_set_precompute": "replaces a private part of scikit-learn's class",
}
OF_GLM = {
    "test_tweedie_link": "asks for a private attribute",
    "test_linalg_warning_with_newton_solver": "a singular Hessian is no error: the solution of least norm is found",
}
OF_QUANTILE = {
    "test_quantile_toy_example[0.49": "asks for a slope of at least one where it is one, but for a rounding",
    "test_error_interior_point_future": "an interior point method is what runs here, whatever SciPy has left of its own",
}
NOT_DEPRECATED = "what is to become the default in scikit-learn is the default here, and does not warn"
WITHIN = "asks for more digits than `tol` does: the fits stop at gradients below it, from starts of their own"
OF_LOGISTIC = {
    "test_logistic_cv_multinomial_score[neg_log_loss": WITHIN,
    "test_logisticregressioncv_warns_with_use_legacy_attributes": NOT_DEPRECATED,
    "test_l1_ratio_None_deprecated": NOT_DEPRECATED,
    "test_lr_scoring_warns": NOT_DEPRECATED,
}
OF_MLP = {
    "test_fit": "calls private methods of scikit-learn's class",
    "test_gradient": "calls private methods of scikit-learn's class",
}
OF_NAIVE_BAYES = {
    "test_gnb_check_update_with_no_data": "calls a private method of scikit-learn's class",
}
PRINTED = "asks for what is printed, and a compiled program prints nothing"
OF_K_MEANS = {
    "test_kmeans_elkan_results": "asks for seven digits of zeros, which both algorithms leave at roundings of their own",
    "test_kmeans_verbose": PRINTED,
    "test_minibatch_declared_convergence": PRINTED,
    "test_minibatch_iter_steps": "an epoch goes through all rows here, its last batch has fewer; there batches are drawn",
    "test_transform[MiniBatchKMeans]": "a distance of a center to itself by products: 4e-8 instead of 0",
    "test_sample_weight_init": "calls a private method of scikit-learn's class",
    "test_sample_weight_zero": "calls a private method of scikit-learn's class",
}
NOT_HERE = "a metric that is refused by name"
TRACED = "a function of vectors must be one that JAX can trace"
OF_NEIGHBORS = {
    "DM_euclidean": "scikit-learn's objects for distances are refused: their names are metrics",
    "test_nan_euclidean_support": NOT_HERE,
    "test_pairwise_boolean_distance": NOT_HERE,
    "test_neighbors_validate_parameters": "more than two features are refused in fit, not only in predict",
    "test_auto_algorithm": "there are no trees to choose from",
    "test_callable_metric": TRACED,
    "test_sparse_metric_callable": TRACED,
    "test_predict_sparse_ball_kd_tree": "sparse queries are served: there are no trees",
    "test_radius_neighbors_parallel_array_radius": "one radius for all queries, as of scikit-learn's brute search",
}
# Of which more does not hold than the twentieth that is allowed: accuracies on 150 flowers after an order of their own.
# Those of k-means are one test, with many parameters, of numbers that are zero but for roundings; of coordinate descent three
# replace a private class, six count epochs.
MOST = {"test_passive_aggressive": 0.15, "test_k_means": 0.07, "test_coordinate_descent": 0.052}
SUITES = {
    "test_pca": (sklearn.decomposition, "decomposition", OF_PCA),
    "test_incremental_pca": (sklearn.decomposition, "decomposition", {}),
    "test_truncated_svd": (sklearn.decomposition, "decomposition", {}),
    "test_sparse_pca": (sklearn.decomposition, "decomposition", OF_SPARSE_PCA),
    "test_dict_learning": (sklearn.decomposition, "decomposition", {}),
    "test_nmf": (sklearn.decomposition, "decomposition", OF_NMF),
    "test_sgd": (sklearn.linear_model, "linear_model", OF_SGD),
    "test_perceptron": (sklearn.linear_model, "linear_model", {}),
    "test_passive_aggressive": (sklearn.linear_model, "linear_model", OF_PASSIVE_AGGRESSIVE),
    "test_coordinate_descent": (sklearn.linear_model, "linear_model", OF_COORDINATE_DESCENT),
    "test_glm": (sklearn.linear_model._glm, "linear_model", OF_GLM),
    "test_huber": (sklearn.linear_model, "linear_model", {}),
    "test_quantile": (sklearn.linear_model, "linear_model", OF_QUANTILE),
    "test_logistic": (sklearn.linear_model, "linear_model", OF_LOGISTIC),
    "test_mlp": (sklearn.neural_network, "neural_network", OF_MLP),
    "test_k_means": (sklearn.cluster, "cluster", OF_K_MEANS),
    "test_bisect_k_means": (sklearn.cluster, "cluster", {}),
    "test_neighbors": (sklearn.neighbors, "neighbors", OF_NEIGHBORS),
    "test_nearest_centroid": (sklearn.neighbors, "neighbors", {}),
    "test_kde": (sklearn.neighbors, "neighbors", {}),
    "test_graph": (sklearn.neighbors, "neighbors", {}),
    "test_neighbors_pipeline": (sklearn.neighbors, "neighbors", {}),
    "test_naive_bayes": (sklearn, "naive_bayes", OF_NAIVE_BAYES),
}


def translated(text: str, module: str) -> str:
    """Tests with our names in the place of theirs; what is private stays scikit-learn's: references are made with it."""
    door = importlib.import_module(f"jaxlearn.{module}")

    def divided(match: re.Match) -> str:
        names = [name for part in match[1].strip("()").split(",") if (name := part.strip())]
        ours = [name for name in names if hasattr(door, name.split()[0])]
        both = {"jaxlearn": ours, "sklearn": [name for name in names if name not in ours]}
        return "\n".join(f"from {package}.{module} import {', '.join(some)}" for package, some in both.items() if some)

    text = re.sub(rf"^from sklearn\.{module} import (\([^)]*\)|[^(\n]+)", divided, text, flags=re.MULTILINE)
    one_of_some = rf"^from sklearn import (.*)\b{module}, "
    text = re.sub(one_of_some, rf"from jaxlearn import {module}\nfrom sklearn import \1", text, flags=re.MULTILINE)
    # a line of its own: with what only scikit-learn has
    whole = f"import types, sklearn.{module}, jaxlearn.{module}\n"
    whole += f"{module} = types.SimpleNamespace(**vars(sklearn.{module}) | vars(jaxlearn.{module}))\n"
    listed = rf"^(from sklearn import \((?:\n    \w+,)*)\n    {module},((?:\n    \w+,)*\n\))"
    return re.sub(listed, lambda match: f"{match[1]}{match[2]}\n{whole}", text, flags=re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_suite(name, tmp_path):
    package, module, known = SUITES[name]
    source = Path(package.__file__).parent / "tests" / f"{name}.py"
    if not source.is_file():
        pytest.skip("this build of scikit-learn comes without its tests")
    text = translated(source.read_text(), module)
    (tmp_path / f"{name}.py").write_text(text)
    settings = f"ABOUT, KNOWN = {ABOUT.get(name, '')!r}, {known!r}\n"
    (tmp_path / "conftest.py").write_text(FIXTURES + BORROWED.get(name, "") + settings + PLUGIN)
    arguments = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    arguments += ["-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true"]
    faulthandler.cancel_dump_traceback_later()  # the limit is that of one test, and this is some hundreds of them
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    # what is expected to fail is less than a twentieth, save where it is said
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout.strip().splitlines()[-1])}
    every = sum(counts.get(word, 0) for word in ("passed", "xfailed", "xpassed"))
    assert counts.get("xfailed", 0) <= MOST.get(name, 0.05) * every, done.stdout[-500:]
