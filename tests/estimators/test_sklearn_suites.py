"""scikit-learn's own tests of its estimators, run on these; the list says which of them do not hold, and why."""

from __future__ import annotations

import faulthandler
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.decomposition
import sklearn.linear_model
import sklearn.neural_network
import sklearn.tests

FIXTURES = """
import numpy as np
import pytest

@pytest.fixture
def global_random_seed():
    return 42

@pytest.fixture(params=[np.float32, np.float64])
def global_dtype(request):
    return request.param
"""
PLUGIN = """
def pytest_collection_modifyitems(items):
    import pytest
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
OF_NMF = {
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
OF_MLP = {
    "test_fit": "calls private methods of scikit-learn's class",
    "test_gradient": "calls private methods of scikit-learn's class",
}
OF_NAIVE_BAYES = {
    "test_gnb_check_update_with_no_data": "calls a private method of scikit-learn's class",
}
# Of which more does not hold than the twentieth that is allowed: accuracies on 150 flowers after an order of their own.
MOST = {"test_passive_aggressive": 0.15}
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
    "test_mlp": (sklearn.neural_network, "neural_network", OF_MLP),
    "test_naive_bayes": (sklearn, "naive_bayes", OF_NAIVE_BAYES),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_suite(name, tmp_path):
    package, module, known = SUITES[name]
    source = Path(package.__file__).parent / "tests" / f"{name}.py"
    if not source.is_file():
        pytest.skip("this build of scikit-learn comes without its tests")
    # what is private stays scikit-learn's: the tests make references with it
    public = rf"^from sklearn\.{module} import (?!_)"
    text = re.sub(public, f"from jaxlearn.{module} import ", source.read_text(), flags=re.MULTILINE)
    text = re.sub(
        rf"^from sklearn import (.*)\b{module}, ",
        rf"from jaxlearn import {module}\nfrom sklearn import \1",
        text,
        flags=re.MULTILINE,
    )
    (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "conftest.py").write_text(FIXTURES + f"KNOWN = {known!r}\n" + PLUGIN)
    arguments = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    arguments += ["-o", "faulthandler_timeout=300", "-o", "faulthandler_exit_on_timeout=true"]
    faulthandler.cancel_dump_traceback_later()  # the limit is that of one test, and this is some hundreds of them
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    # what is expected to fail is less than a twentieth, save where it is said
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", done.stdout.strip().splitlines()[-1])}
    assert counts.get("xfailed", 0) <= MOST.get(name, 0.05) * (counts["passed"] + counts.get("xfailed", 0)), (
        done.stdout[-500:]
    )
