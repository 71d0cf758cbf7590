"""evidence/__init__.py: what is said of many points together, and of those whose estimate is not to be trusted."""

import math

import pytest
import torch

from aevb.evidence import REASONS, Evidence, Refusal, in_chunks
from helpers import equal, randn, rejects

pytestmark = pytest.mark.usefixtures("double")


def made_up(n_models=2, n_points=4, seed=0):
    """Evidence with a different number in every place, nothing refused."""
    fields = randn(len(Evidence._fields), n_models, n_points, seed=seed).double().abs()
    return Evidence(*fields)._replace(refusal=torch.zeros(n_models, n_points))


def refusing(codes):
    """Model 0 refuses these points; model 1 none."""
    return made_up()._replace(refusal=torch.tensor([codes, [0.0] * 4]))


def column(result, name, m=0, direction="exact"):
    return result.summary(m, direction)[name]


# ---------------------------------------------------------------------------------------------------- refusals


def check_empties(result):
    """One point of four is refused: no mean is given, that of the other three included."""
    assert math.isnan(column(result, "log_likelihood"))
    assert column(result, "n_refused") == 1
    assert column(result, "n_points") == 4


def test_a_refused_point_empties_the_mean_instead_of_being_left_out():
    result = refusing([0.0, 0.0, Refusal.HEAVY_TAIL, 0.0])
    check_empties(result)

    class LeftOut(Evidence):
        """The classic bug: the mean of the points that went well, which are the easy ones."""

        def summary(self, m, direction):
            return super().summary(m, direction) | {"log_likelihood": self.log_prob[m].nanmean().item()}

    rejects(check_empties, LeftOut(*result), made_up())
    assert column(result, "log_likelihood", m=1) == result.estimate[1].mean().item()
    assert column(result, "n_refused", m=1) == 0


def test_every_reason_is_named_with_the_number_of_its_points():
    result = refusing([Refusal.HEAVY_TAIL, 0.0, Refusal.STUCK, Refusal.HEAVY_TAIL])
    assert column(result, "refusal") == (
        f"1 of 4 points: {REASONS[Refusal.STUCK]}; 2 of 4 points: {REASONS[Refusal.HEAVY_TAIL]}"
    )
    assert column(result, "refusal", m=1) == ""


def test_there_is_a_reason_in_words_for_every_refusal():
    assert set(REASONS) == set(Refusal) - {Refusal.NONE}
    assert len(set(REASONS.values())) == len(REASONS)


def test_what_is_refused_has_no_log_prob_but_keeps_its_estimate():
    result = refusing([0.0, Refusal.UNMIXED, 0.0, Refusal.NOT_FINITE])
    assert result.refused.tolist() == [[False, True, False, True], [False] * 4]
    assert torch.equal(torch.isnan(result.log_prob), result.refused)
    assert torch.equal(result.log_prob[~result.refused], result.estimate[~result.refused])
    assert torch.isfinite(result.estimate).all()


@pytest.mark.parametrize("refusal", list(REASONS))
def test_refuse_gives_no_estimate_for_any_point(refusal):
    result = Evidence.refuse(3, torch.zeros(5, 2), refusal)
    assert all(field.shape == (3, 5) for field in result)
    assert all(torch.isnan(field).all() for field in result._replace(refusal=result.estimate))
    for m in range(3):
        summary = result.summary(m, "lower")
        assert summary["n_refused"] == summary["n_points"] == 5
        assert summary["refusal"] == f"5 of 5 points: {REASONS[refusal]}"
        assert math.isnan(summary["log_likelihood"])
        assert math.isnan(summary["lower_bound"])


# ----------------------------------------------------------------------------------------------- the summary


@pytest.mark.parametrize("direction", ["lower", "upper", "exact"])
def test_only_an_estimator_from_below_gives_a_lower_bound_and_it_is_that_of_all_points(direction):
    """A mean of logs of unbiased estimates is a bound in expectation, whatever their variance."""
    for result in (made_up(), refusing([Refusal.HEAVY_TAIL, Refusal.BOUND, 0.0, 0.0])):
        bound = column(result, "lower_bound", direction=direction)
        if direction == "lower":
            assert bound == result.estimate[0].mean().item()
        else:
            assert math.isnan(bound)


def test_the_summary_propagates_the_error_of_each_point():
    """Errors of points are independent: that of the mean is the root of the sum of squares over n."""
    result = made_up()._replace(
        estimate=torch.tensor([[1.0, 2.0, 3.0, 6.0], [0.0] * 4]),
        std_error=torch.tensor([[0.1, 0.1, 0.3, 0.5], [0.0] * 4]),
    )
    assert column(result, "log_likelihood") == 3
    assert column(result, "std_error") == pytest.approx(0.6 / 4)
    # deviations -2, -1, 0, 3: a variance of 14 / 3
    assert column(result, "std_error_points") == pytest.approx(math.sqrt(14 / 3) / 2)
    assert column(result, "std_error", m=1) == column(result, "std_error_points", m=1) == 0


def test_diagnostics_of_many_points_are_their_worst_or_their_mean():
    result = made_up()
    worst = {"largest_weight_share": "largest_share", "log_weight_range": "log_range"}
    worst |= {"k_hat": "k_hat", "r_hat": "r_hat"}
    for name, field in worst.items():
        assert column(result, name) == getattr(result, field)[0].max().item()
    for name in ("ess", "acceptance"):
        assert column(result, name) == getattr(result, name)[0].mean().item()


def test_one_point_says_nothing_of_the_population():
    summary = made_up(n_points=1).summary(0, "lower")
    assert math.isnan(summary["std_error_points"])
    assert math.isfinite(summary["std_error"])


# -------------------------------------------------------------------------------------------------- in chunks


def point_by_point(x):
    """An estimate that depends on the point alone; two models."""
    rows = torch.stack([x.sum(-1), x.prod(-1)])
    return Evidence(*(rows + n for n in range(len(Evidence._fields))))


@pytest.mark.parametrize("size", [0, 1, 3, 7, 10, 99])
def test_in_chunks_is_the_whole(size):
    """0: more models than a chunk has room for; one point at a time then."""
    x, seen = randn(10, 3).double(), []

    def estimate(some):
        seen.append(len(some))
        return point_by_point(some)

    assert equal(in_chunks(x, size, estimate), point_by_point(x))
    assert max(seen) == min(max(1, size), 10)
    assert sum(seen) == 10
