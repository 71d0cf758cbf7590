"""bound_and_likelihood.py: which value stands for log p(x), and what is then the gap."""

import numpy as np
import pandas as pd
import pytest

from aevb import bound_and_likelihood


def side_by_side(refused=(), **likelihoods):
    """One run whose estimators give these values; appendix_d is refused where it is NaN, bounds where named."""
    estimators = {"bound": "elbo", "appendix_d": "appendix_d_robust"}
    identity = {"dataset": "mnist", "estimator": "aevb", "n_hidden": 100, "n_latent": 3, "n_train": 1000}
    rows = [
        identity
        | {"seed": 0, "split": "test", "samples": samples, "n_points": 10, "std_error": 0.3}
        # a bound is no estimate of log p(x), and refused as one at every point
        | {"evidence_estimator": estimators.get(name, name)}
        | {"n_refused": 10 if name == "bound" else int(name in refused)}
        | {"log_likelihood": value if name == "appendix_d" else np.nan}
        | {"lower_bound": np.nan if name == "appendix_d" else value}
        for name, value in likelihoods.items()
        for samples in ((100, 200) if name == "appendix_d" else (200,))
    ]
    return bound_and_likelihood.table(pd.DataFrame(rows))


def test_the_certified_value_is_the_likelihood_where_there_is_one():
    [row] = side_by_side(bound=-130.0, importance=-128.5, annealed=-127.5, appendix_d=-127.0).to_dict(
        "records"
    )
    assert (row["log_likelihood"], row["log_likelihood_from"]) == (-127.0, "appendix_d")
    assert (row["bound"], row["importance"], row["annealed"]) == (-130.0, -128.5, -127.5)
    assert row["gap"] == 3.0
    assert row["gap_error"] == pytest.approx(0.3 * 2**0.5)
    assert row["samples"] == 200


def test_the_highest_lower_bound_stands_in_for_a_value_that_was_refused_or_not_asked_for():
    for others in ({"appendix_d": np.nan}, {}):
        values = {"bound": -130.0, "importance": -128.5, "annealed": -127.5} | others
        [row] = side_by_side(**values).to_dict("records")
        assert (row["log_likelihood"], row["log_likelihood_from"]) == (-127.5, "annealed")


def test_a_method_without_an_encoder_has_no_bound_and_no_gap():
    [row] = side_by_side(bound=np.nan, importance=-128.0, annealed=-128.5).to_dict("records")
    assert row["log_likelihood_from"] == "importance"
    assert np.isnan(row["gap"])


def test_the_gap_of_a_refused_estimate_has_no_error():
    values = {"bound": -130.0, "importance": -128.5, "annealed": -127.5}
    [row] = side_by_side(refused=("annealed",), **values).to_dict("records")
    assert row["gap"] == 2.5
    assert np.isnan(row["gap_error"])
