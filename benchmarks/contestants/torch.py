"""PyTorch as its tutorials write it: modules, a shuffling DataLoader, autograd and `torch.optim.Adagrad`.

The DataLoader fetches points one by one and stacks them, which is its default and a visible part of a step. An epoch
goes through all points without replacement. Weight decay falls on biases too.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from aevb.data import Split
from contestants import Outcome, Run
from workloads import STEP_SIZE, Workload

Gaussian = tuple[Tensor, Tensor]


def prepare(workload: Workload, split: Split) -> Run:
    torch.manual_seed(0)
    points = torch.from_numpy(split.train).float() / split.scale
    loader = DataLoader(TensorDataset(points), workload.batch_size, shuffle=True, drop_last=True)
    model = VAE(points.shape[1], workload.n_hidden, workload.n_latent, workload.log_var_floor)
    optimiser = torch.optim.Adagrad(model.parameters(), lr=STEP_SIZE, weight_decay=1 / len(points))
    batches = endless(loader)
    losses = {"aevb": aevb, "wake_sleep": wake_sleep}[workload.estimator]

    def run(n_steps: int) -> Outcome:
        total = 0.0
        for _ in range(n_steps):
            loss, bound = losses(model, next(batches))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += bound.item()
        return Outcome(n_steps, total / n_steps)

    return run


def endless(loader: DataLoader) -> Iterator[Tensor]:
    while True:
        for (x,) in loader:
            yield x


# ------------------------------------------------------------------------------------------------- estimators


def aevb(model: "VAE", x: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and bound of a minibatch, in nats per point."""
    q = model.encoder(x)
    loss = (kl(*q) - model.decoder.log_likelihood(x, sample(*q))).mean()
    return loss, -loss.detach()


def wake_sleep(model: "VAE", x: Tensor) -> tuple[Tensor, Tensor]:
    """The two phases' losses, which share no weights, in one sum; and the wake phase's bound."""
    with torch.no_grad():
        q = model.encoder(x)
        z = sample(*q)
        prior_z = torch.randn_like(z)
        dreamt = model.decoder.sample(prior_z)
    wake = -model.decoder.log_likelihood(x, z).mean()
    sleep = -gaussian_log_prob(*model.encoder(dreamt), prior_z).mean()
    return wake + sleep, -(wake.detach() + kl(*q).mean())


# ------------------------------------------------------------------------------------------------------ model


class Encoder(nn.Module):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_features, n_hidden)
        self.mu = nn.Linear(n_hidden, n_latent)
        self.log_var = nn.Linear(n_hidden, n_latent)

    def forward(self, x: Tensor) -> Gaussian:
        h = torch.tanh(self.hidden(x))
        return self.mu(h), self.log_var(h)


class BernoulliDecoder(nn.Module):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_latent, n_hidden)
        self.logits = nn.Linear(n_hidden, n_features)

    def forward(self, z: Tensor) -> Tensor:
        return self.logits(torch.tanh(self.hidden(z)))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return -functional.binary_cross_entropy_with_logits(self(z), x, reduction="none").sum(-1)

    def sample(self, z: Tensor) -> Tensor:
        return torch.bernoulli(torch.sigmoid(self(z)))


class GaussianDecoder(nn.Module):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.hidden = nn.Linear(n_latent, n_hidden)
        self.mu = nn.Linear(n_hidden, n_features)
        self.log_var = nn.Linear(n_hidden, n_features)

    def forward(self, z: Tensor) -> Gaussian:
        h = torch.tanh(self.hidden(z))
        return torch.sigmoid(self.mu(h)), self.log_var(h).clamp(min=self.floor)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return gaussian_log_prob(*self(z), x)

    def sample(self, z: Tensor) -> Tensor:
        return sample(*self(z)).clamp(0, 1)


class VAE(nn.Module):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int, floor: float | None) -> None:
        super().__init__()
        sizes = (n_features, n_hidden, n_latent)
        self.encoder = Encoder(*sizes)
        self.decoder = BernoulliDecoder(*sizes) if floor is None else GaussianDecoder(*sizes, floor)


def sample(mu: Tensor, log_var: Tensor) -> Tensor:
    return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)


def gaussian_log_prob(mu: Tensor, log_var: Tensor, x: Tensor) -> Tensor:
    return -0.5 * (math.log(2 * math.pi) + log_var + (x - mu) ** 2 * torch.exp(-log_var)).sum(-1)


def kl(mu: Tensor, log_var: Tensor) -> Tensor:
    return -0.5 * (1 + log_var - mu**2 - torch.exp(log_var)).sum(-1)
