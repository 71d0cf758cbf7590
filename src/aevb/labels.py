"""What the images of a dataset show: the class of each, where there is one.

No learning algorithm sees a label; they only measure what a representation is worth. So they lie in a file of their
own, results/data/{dataset}_labels.npz, and no run's address knows of them. A label belongs to its image by position
alone, so the digest of the labels covers that of the images.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aevb import UserError
from aevb.data import MNIST_MIRRORS, Split, opened, read_idx, shuffle
from aevb.download import RemoteFile, fetch
from aevb.files import replace

SUFFIX = "_labels"  # of the file's stem, after the dataset's name


class Labels(NamedTuple):
    """The classes of a split's images, counted from zero."""

    train: np.ndarray  # uint8 (N,)
    test: np.ndarray  # uint8 (N_test,)
    digest: str  # sha256 of both, of the dataset's name and of the images' digest


class Source(NamedTuple):
    """Where a dataset's labels come from."""

    read: Callable[
        ..., np.ndarray
    ]  # the paths of `files` -> uint8 (N,), in the order of the dataset's images
    files: tuple[RemoteFile, ...] = ()


# ---------------------------------------------------------------------------------------- prepare, save, load


def prepare(name: str, cache: Path, images: Split) -> Labels:
    """Download what `cache` lacks, verify and parse the labels of the dataset `name` (a key of `SOURCES`).

    images: the split that `data.prepare` made; its labels are cut as it is, into the first and the last.

    Raises: UserError for a dataset without labels, a file that no mirror serves intact or that does not parse,
    and where the labels are fewer than the images.
    """
    if name not in SOURCES:
        raise UserError(f"The dataset {name!r} has no labels; those of {', '.join(SOURCES)} are known.")
    source = SOURCES[name]
    classes = source.read(*[fetch(file, cache) for file in source.files])
    return make_labels(name, classes[: len(images.train)], classes[-len(images.test) :], images)


def make_labels(name: str, train: np.ndarray, test: np.ndarray, images: Split) -> Labels:
    """Bind uint8 arrays train (N,) and test (N_test,) to the images they belong to.

    Raises: UserError unless every image has one label.
    """
    expected = (len(images.train),), (len(images.test),)
    if (train.shape, test.shape) != expected:
        raise UserError(
            f"The labels of {name!r} do not match its images: there are {train.shape} and {test.shape} of them, "
            f"for {expected[0]} images to train and {expected[1]} to test. Delete results/data and run again."
        )
    digest = hashlib.sha256(repr((name, images.digest)).encode())
    digest.update(np.ascontiguousarray(train).data)
    digest.update(np.ascontiguousarray(test).data)
    return Labels(train, test, digest.hexdigest())


def save(labels: Labels, path: Path) -> None:
    """Write `labels` to `path`, results/data/{dataset}_labels.npz: afterwards there is a whole file or the old one.

    Raises: UserError where the file cannot be written.
    """
    replace(path, lambda stream: np.savez(stream, **labels._asdict()))


def load(path: Path, images: Split) -> Labels:
    """Read what `save` wrote and verify its digest, which covers the dataset's name and the images it was made for.

    Raises: UserError for a missing, damaged, renamed or foreign file, and for labels of other images.
    """
    name = path.stem.removesuffix(SUFFIX)
    with opened(path) as file:
        stored, train, test = str(file["digest"]), file["train"], file["test"]
    labels = make_labels(name, train, test, images)
    if labels.digest != stored:
        raise UserError(
            f"{path} is damaged, or does not hold the labels of these images of {name!r}: its digest is "
            f"{labels.digest}, the one stored with it {stored}. Delete it and run again."
        )
    return labels


# ---------------------------------------------------------------------------------------------------- readers


def _read_mnist(train: Path, test: Path) -> np.ndarray:
    return np.concatenate([read_idx(train, (60_000,)), read_idx(test, (10_000,))])


def _read_digits() -> np.ndarray:
    from sklearn.datasets import load_digits  # here, because it costs every other dataset a second

    return shuffle(load_digits().target.astype(np.uint8))


MNIST_TRAIN = "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
MNIST_TEST = "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"

SOURCES = {
    "mnist": Source(
        _read_mnist,
        (
            RemoteFile("train-labels-idx1-ubyte.gz", 28_881, MNIST_TRAIN, MNIST_MIRRORS),
            RemoteFile("t10k-labels-idx1-ubyte.gz", 4_542, MNIST_TEST, MNIST_MIRRORS),
        ),
    ),
    "digits": Source(_read_digits),
}
