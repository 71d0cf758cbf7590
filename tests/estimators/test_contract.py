"""Row 9 of VERIFICATION.md: what every algorithm in estimators/ promises. A new file is tested as it appears, and
`pytest --estimator=path/to/mine.py` tests a file that lies elsewhere.

The rules are aevb.conformance's; each is shown to refuse algorithms that break it.
"""

import pytest
import torch

from aevb import conformance, trees
from aevb.conformance import MODELS, RULES, RULES_OF_LEARNING
from aevb.estimators import Noise, aevb
from aevb.optimisers import Optimiser, adagrad
from aevb.rules import BrokenRule
from helpers import generator

BERNOULLI = MODELS["bernoulli"]


def broken(rule, *arguments):
    """The sentence that says what is wrong, and None where nothing is."""
    try:
        rule(*arguments)
    except BrokenRule as sentence:
        return str(sentence)
    return None


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())
def test_a_step_keeps_the_rules(build, rule, model):
    wrong = broken(rule, build, model)
    if wrong:
        pytest.fail(wrong, pytrace=False)


@pytest.mark.parametrize("rule", RULES_OF_LEARNING.values(), ids=RULES_OF_LEARNING.keys())
def test_it_learns_and_says_what_is_true_of_its_bound(build, rule):
    wrong = broken(rule, build)
    if wrong:
        pytest.fail(wrong, pytrace=False)


# ------------------------------------------------------------------------------------------ algorithms that do not


def wrapped(around):
    """AEVB with another step: around(inner step, state, x, noise)."""

    def build(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)
        return inner._replace(step=lambda state, x, noise: around(inner.step, state, x, noise))

    return build


def drawing(draw):
    """AEVB with another draw: draw(inner draw, generator, batch_size)."""

    def build(model, optimiser, n_train):
        inner = aevb.build(model, optimiser, n_train)
        return inner._replace(draw=lambda source, batch_size: draw(inner.draw, source, batch_size))

    return build


def handing_over(change):
    """AEVB whose optimiser is given changed gradients."""

    def build(model, optimiser, n_train):
        def ascend(state, params, grads, prior):
            named = {name: change(name, g) for name, g in trees.leaves(grads).items()}
            return optimiser.ascend(state, params, trees.rebuild(grads, named), prior)

        return aevb.build(model, Optimiser(optimiser.init, ascend), n_train)

    return build


def with_params(state, change):
    named = {name: change(name, w) for name, w in trees.leaves(state.params).items()}
    return state._replace(params=trees.rebuild(state.params, named))


def doubles(step, state, x, noise):
    new, info = step(state, x, noise)
    return with_params(new, lambda name, w: w.double()), info


def grows(step, state, x, noise):
    new, info = step(state, x, noise)
    return with_params(new, lambda name, w: torch.cat([w, w], -1)), info


def scalar_bound(step, state, x, noise):
    new, info = step(state, x, noise)
    return new, info._replace(bound=info.bound.mean())


def bound_of_points(step, state, x, noise):
    new, info = step(state, x, noise)
    return new, info._replace(bound=info.bound.unsqueeze(-1).expand(-1, x.shape[1]))


def without_model_axis(model, optimiser, n_train):
    inner = aevb.build(model, optimiser, n_train)
    return inner._replace(init=lambda params: {"params": params, "count": torch.zeros(())})


def raises(step, state, x, noise):
    raise ValueError("something of its own")


def returns_nothing(step, state, x, noise):
    return None


def shaken(step, state, x, noise):
    return step(state, x, noise._replace(eps=torch.randn_like(noise.eps)))


def with_all_points(around):
    build = wrapped(around)
    return lambda model, optimiser, n_train: build(model, optimiser, n_train)._replace(full_batch=True)


def counting():
    seen = []

    def step_differently(step, state, x, noise):
        seen.append(1)
        return step(state, x, noise._replace(eps=noise.eps * len(seen)))

    return wrapped(step_differently)


def spoils(pick):
    def around(step, state, x, noise):
        result = step(state, x, noise)
        pick(state, x, noise).add_(1)
        return result

    return wrapped(around)


def averages(step, state, x, noise):
    new, info = step(state, x, noise)
    return with_params(new, lambda name, w: w + 1e-6 * (w.mean(0, keepdim=True) - w)), info


def shares_noise(step, state, x, noise):
    return step(state, x, noise._replace(eps=noise.eps[:1].expand_as(noise.eps)))


def mean_bound(step, state, x, noise):
    new, info = step(state, x, noise)
    return new, info._replace(bound=info.bound.mean().expand(len(x)))


def frozen(step, state, x, noise):
    new, info = step(state, x, noise)
    old = trees.leaves(state.params)
    return with_params(new, lambda name, w: old[name] if name == "phi.w_out" else w), info


def looks(step, state, x, noise):
    return step(state, x, noise) if x.sum().item() > -1 else None


def descends(model, optimiser, n_train):
    return aevb.build(model, adagrad(torch.tensor([-0.05, -0.1])), n_train)


def idles(step, state, x, noise):
    return state, step(state, x, noise)[1]


def flatters(step, state, x, noise):  # its own report improves, its weights do not
    new, info = step(state, x, noise)
    return state._replace(optimiser=new.optimiser), info._replace(bound=info.bound + new.optimiser.seen)


def boasts(step, state, x, noise):  # of the reconstruction without the KL divergence
    new, info = step(state, x, noise)
    return new, info._replace(bound=info.bound + 10)


def not_in_nats_per_point(step, state, x, noise):
    new, info = step(state, x, noise)
    return new, info._replace(bound=-info.bound * x.shape[1])


last_model = torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1)

WRONG = {
    "keeps shapes": {
        "must keep shapes and dtypes: params.theta.w_h was (3, 2, 4) float32": wrapped(doubles),
        "must keep shapes": wrapped(grows),
        "Info.bound needs one value per model": wrapped(scalar_bound),
        "shape (M,) = (3,); it has (3, 8)": wrapped(bound_of_points),
        "needs the model axis first; not so: count": without_model_axis,
        "it raised ValueError: something of its own (": wrapped(raises),
        "must return (state, Info)": wrapped(returns_nothing),
        "draw(generator, batch_size) must return the noise; it raised KeyError": drawing(
            lambda draw, source, size: {}["nothing"]
        ),
        "must return an Estimator(init, draw, step); it returned NoneType": lambda *arguments: None,
        "build(model, optimiser, n_train) must return an Estimator; it raised": lambda *arguments: {}[
            "nothing"
        ],
    },
    "is deterministic": {"must be a function of state": wrapped(shaken), "gave two results": counting()},
    "leaves its inputs": {
        "it changed state": spoils(lambda state, x, noise: state.params.theta["w_h"]),
        "leave its inputs as they are: it changed state": spoils(
            lambda state, x, noise: state.optimiser.seen
        ),
        "it changed x": spoils(lambda state, x, noise: x),
        "it changed noise": spoils(lambda state, x, noise: noise.eps),
    },
    "draws from its generator": {
        "hidden randomness": wrapped(shaken),
        "from a global generator": drawing(lambda draw, source, size: Noise(torch.randn(1, size, 2))),
        "must use its generator": drawing(lambda draw, source, size: draw(generator(0), size)),
    },
    "keeps models apart": {
        "mixes the axis M": wrapped(averages),
        "learn what each learns alone": wrapped(shares_noise),
        "a stack of models": wrapped(mean_bound),
    },
    "gives every weight a gradient": {
        "the gradient of theta.w_h is zero": handing_over(
            lambda name, g: 0 * g if name == "theta.w_h" else g
        ),
        "the gradient of phi.w_out is zero": handing_over(
            lambda name, g: g * last_model if name == "phi.w_out" else g
        ),
        "the gradient of phi.b_out is not finite": handing_over(
            lambda name, g: g * float("nan") if name == "phi.b_out" else g
        ),
        "phi.w_out stayed as it was": wrapped(frozen),
    },
    "can be recorded": {
        "without .item()": wrapped(looks),
        "fixed sequence": wrapped(shaken),
        # a method that no CPU replays, and a GPU captures
        "it reads a tensor's value": with_all_points(looks),
    },
}


@pytest.mark.parametrize(
    ("rule", "sentence", "wrong"),
    [(rule, sentence, wrong) for rule, cases in WRONG.items() for sentence, wrong in cases.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_algorithm_that_breaks_a_rule_is_told_which(rule, sentence, wrong):
    assert sentence in (broken(RULES[rule], wrong, BERNOULLI) or "nothing")


def test_every_rule_is_seen_to_refuse_something():
    assert WRONG.keys() == RULES.keys()


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        (conformance.learns, descends),
        (conformance.learns, wrapped(idles)),
        (conformance.learns, wrapped(flatters)),
        (conformance.reports_a_bound, wrapped(boasts)),
        (conformance.reports_a_bound, wrapped(not_in_nats_per_point)),
    ],
)
def test_an_algorithm_that_does_not_learn_or_boasts_is_told_so(rule, wrong):
    assert broken(rule, wrong)


def test_all_rules_are_checked_together():
    assert conformance.check(aevb.build) == [*RULES, *RULES_OF_LEARNING]
    with pytest.raises(BrokenRule, match=r"hidden randomness|function of state"):
        conformance.check(wrapped(shaken))
