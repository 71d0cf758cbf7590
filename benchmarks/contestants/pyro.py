"""Pyro as its VAE tutorial writes it: SVI with `Trace_ELBO`, a plate over the minibatch, a shuffling DataLoader.

`Trace_ELBO`, the tutorial's choice, takes the KL divergence at the drawn z instead of in closed form, so its bound
is a little noisier. Checks of distributions' arguments are off, as in the tutorial; other checks are left on, the
default. By design Pyro keeps one optimiser per weight tensor and traces guide and model in every step.
"""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adagrad  # Pyro's wrapper of torch.optim's
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from aevb.data import Split
from contestants import Outcome, Run
from contestants.torch import BernoulliDecoder, Encoder, endless
from workloads import STEP_SIZE, Workload


class VAE(nn.Module):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.n_latent = n_latent
        self.encoder = Encoder(n_features, n_hidden, n_latent)
        self.decoder = BernoulliDecoder(n_features, n_hidden, n_latent)

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", len(x)):
            loc, scale = x.new_zeros(len(x), self.n_latent), x.new_ones(len(x), self.n_latent)
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            pixels = dist.Bernoulli(logits=self.decoder(z), validate_args=False)  # x is grey
            pyro.sample("obs", pixels.to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", len(x)):
            mu, log_var = self.encoder(x)
            pyro.sample("latent", dist.Normal(mu, torch.exp(0.5 * log_var)).to_event(1))


def prepare(workload: Workload, split: Split) -> Run:
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    pyro.distributions.enable_validation(False)
    points = torch.from_numpy(split.train).float() / split.scale
    batches = endless(DataLoader(TensorDataset(points), workload.batch_size, shuffle=True, drop_last=True))
    vae = VAE(points.shape[1], workload.n_hidden, workload.n_latent)
    # Pyro's loss is a sum over the minibatch, hence the decay by its share of the prior
    optimiser = Adagrad({"lr": STEP_SIZE, "weight_decay": workload.batch_size / len(points)})
    svi = SVI(vae.model, vae.guide, optimiser, loss=Trace_ELBO())

    def run(n_steps: int) -> Outcome:
        total = sum(svi.step(next(batches)) for _ in range(n_steps))
        return Outcome(n_steps, -total / (n_steps * workload.batch_size))

    return run
