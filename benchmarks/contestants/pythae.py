"""pythae with its own VAE, trainer and dataset classes, and an encoder and decoder of the paper's sizes.

Its unit of training is the epoch, so a run is whole epochs of `BaseTrainer.train_step`, its own loop. What
`BaseTrainer.train` adds around it is left out, in pythae's favour: a copy of the best model after each epoch and the
model on disk at the end. By design the dataset wraps every single point, with a label, into a dictionary, and a
progress bar follows the steps. An epoch goes through all points without replacement.
"""

import logging

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from aevb.data import Split
from contestants import Outcome, Run
from workloads import STEP_SIZE, Workload


class Encoder(BaseEncoder):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_features, n_hidden)
        self.embedding = nn.Linear(n_hidden, n_latent)
        self.log_covariance = nn.Linear(n_hidden, n_latent)

    def forward(self, x: Tensor) -> ModelOutput:
        h = torch.tanh(self.hidden(x))
        return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_covariance(h))


class Decoder(BaseDecoder):
    def __init__(self, n_features: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(n_latent, n_hidden)
        self.reconstruction = nn.Linear(n_hidden, n_features)

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.reconstruction(torch.tanh(self.hidden(z)))))


def prepare(workload: Workload, split: Split) -> Run:
    logging.getLogger("pythae").setLevel(logging.WARNING)
    points = torch.from_numpy(split.train) / split.scale
    sizes = (points.shape[1], workload.n_hidden, workload.n_latent)
    config = VAEConfig(input_dim=(points.shape[1],), latent_dim=workload.n_latent, reconstruction_loss="bce")
    settings = BaseTrainerConfig(
        output_dir="pythae",  # it makes the folder even where nothing is saved
        per_device_train_batch_size=workload.batch_size,
        learning_rate=STEP_SIZE,
        optimizer_cls="Adagrad",
        optimizer_params={"weight_decay": 1 / len(points)},
        no_cuda=True,
    )
    model = VAE(config, Encoder(*sizes), Decoder(*sizes))
    dataset = BaseDataset(points, labels=torch.zeros(len(points)))
    trainer = BaseTrainer(model, dataset, training_config=settings)
    trainer.prepare_training()
    epochs = 0

    def run(n_steps: int) -> Outcome:
        nonlocal epochs
        losses = []
        while len(losses) * len(trainer.train_loader) < n_steps:
            epochs += 1
            losses.append(trainer.train_step(epochs))
        return Outcome(len(losses) * len(trainer.train_loader), -sum(losses) / len(losses))

    return run
