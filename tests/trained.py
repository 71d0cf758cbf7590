"""A model that has learned something, for claims that are about trained ones: AEVB on scikit-learn's digits."""

from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from aevb import data, engine, estimators, trees
from aevb.bounds import to_unit
from aevb.engine import Minibatches
from aevb.models import BernoulliModel, Params
from aevb.optimisers import adagrad
from aevb.toy import precision
from helpers import generator

# of 100 points each; by the end the bound rises by less than a nat in a thousand steps
STEPS, BLOCK = 3000, 100


@cache
def on_digits(n_latent: int) -> tuple[BernoulliModel, Params, Tensor]:
    """The model, its weights and the held-out points (B, D), in double precision."""
    split = data.prepare("digits", Path())
    model = BernoulliModel(split.train.shape[1], 40, n_latent)
    with precision(torch.float32):  # as runs are trained
        estimator = estimators.load("aevb")(model, adagrad(torch.tensor([0.1])), len(split.train))
        points = to_unit(torch.from_numpy(split.train), split.scale)
        state = estimator.init(trees.stack([model.init(generator(0))]))
        learner = engine.build(Minibatches(estimator, points, 100), state, [0], BLOCK)
        for block in range(STEPS // BLOCK):
            learner.train_block(block)
    params = learner.state.params
    x = to_unit(torch.from_numpy(split.test), split.scale).double()
    return model, trees.rebuild(params, {name: w.double() for name, w in trees.leaves(params).items()}), x
