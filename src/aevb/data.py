"""The paper's data: verify, parse, split into arrays of shape (N, D).

Pixels stay the raw uint8 of their source; dividing by `Split.scale` gives the x in [0, 1] of the paper. The
scale belongs to the result: for a density over D pixels, /255 and /256 differ by D log(256/255) nats.

Every byte that comes from outside is checked against a pinned sha256 before it is parsed, nothing is ever
unpickled, and every failure reaches the user as one `UserError`.
"""

import gzip
import hashlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aevb import UserError
from aevb.download import RemoteFile, fetch
from aevb.files import replace

FREY_PIXELS = "2438ba4f0d2a6bd8bac43de756141eaa33c8d248dd613d464bdb1210d9b7af78"


class Split(NamedTuple):
    """A dataset as the experiments see it; `train / scale` is the paper's x."""

    train: np.ndarray  # uint8 (N, D)
    test: np.ndarray  # uint8 (N_test, D)
    scale: float  # what one divides by
    image_shape: tuple[int, int]  # (rows, columns), in C order; their product is D
    digest: str  # sha256 of all of the above and the dataset's name


class Dataset(NamedTuple):
    """Where a dataset comes from and how it is split: the first `n_train` and the last `n_test` images."""

    image_shape: tuple[int, int]
    scale: float
    n_train: int
    n_test: int
    read: Callable[..., np.ndarray]  # the paths of `files` -> all images, uint8 (N, D), in their final order
    files: tuple[RemoteFile, ...] = ()


# ---------------------------------------------------------------------------------------- prepare, save, load


def prepare(name: str, cache: Path) -> Split:
    """Download what `cache` lacks, verify, parse and split the dataset `name` (a key of `DATASETS`).

    AEVB_DATA_MIRROR, a folder or an http, https or file URL, is tried before the public mirrors.

    Source: paper section 5.
    Raises: UserError for an unknown name, a file that no mirror serves intact, or a file that does not parse.
    """
    if name not in DATASETS:
        raise UserError(f"There is no dataset {name!r}; the known ones are {', '.join(DATASETS)}.")
    dataset = DATASETS[name]
    images = dataset.read(*[fetch(file, cache) for file in dataset.files])
    train, test = images[: dataset.n_train], images[-dataset.n_test :]
    return make_split(name, train, test, dataset.scale, dataset.image_shape)


def make_split(
    name: str, train: np.ndarray, test: np.ndarray, scale: float, image_shape: tuple[int, int]
) -> Split:
    """Bind uint8 arrays train (N, D) and test (N_test, D) into a `Split` with its digest.

    The shapes are digested too: without them, moving an image from train to test would go unnoticed.
    """
    digest = hashlib.sha256(repr((name, train.shape, test.shape, float(scale), image_shape)).encode())
    digest.update(np.ascontiguousarray(train).data)
    digest.update(np.ascontiguousarray(test).data)
    return Split(train, test, float(scale), image_shape, digest.hexdigest())


def save(split: Split, path: Path) -> None:
    """Write `split` to `path`, results/data/{dataset}.npz: afterwards there is a whole file or the old one.

    Raises: UserError where the file cannot be written.
    """
    replace(path, lambda stream: np.savez(stream, **split._asdict()))


def load(path: Path) -> Split:
    """Read what `save` wrote and verify its digest, which covers the dataset's name, the stem of `path`.

    Raises: UserError for a missing, damaged, renamed or foreign file. Nothing is unpickled.
    """
    with opened(path) as file:
        rows, columns = file["image_shape"].tolist()
        stored = str(file["digest"])
        split = make_split(path.stem, file["train"], file["test"], file["scale"].item(), (rows, columns))
    if split.digest != stored:
        raise UserError(
            f"{path} is damaged, or is not the dataset {path.stem!r}: its digest is {split.digest}, "
            f"the one stored with it {stored}. Delete it and run again."
        )
    return split


@contextmanager
def opened(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of the npz file at `path`, to be taken out inside the `with`.

    Raises: UserError for a file that is missing or that does not hold them. Nothing is unpickled.
    """
    if not path.exists():
        raise UserError(f"There is no {path}. Let Snakemake make it: snakemake --cores 1 {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except Exception as error:  # numpy, zipfile and zlib raise a dozen unrelated types on a damaged file
        raise UserError(f"Cannot read {path}: {error!r}. Delete it and run again.") from error


# ---------------------------------------------------------------------------------------------------- readers


def _read_mnist(train: Path, test: Path) -> np.ndarray:
    images = [read_idx(train, (60_000, 28, 28)), read_idx(test, (10_000, 28, 28))]
    return np.concatenate(images).reshape(70_000, -1)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of that shape in a gzipped IDX file: a big-endian magic number, the shape, the values.

    The magic number is 2048 for bytes plus the number of axes: 2051 for images, 2049 for labels.
    Raises: UserError for a file that does not unpack or holds anything else.
    """
    header = struct.pack(f">{1 + len(shape)}i", 2048 + len(shape), *shape)
    size = len(header) + math.prod(shape)
    try:
        with gzip.open(path) as stream:
            content = stream.read(size + 1)  # not read(): a few kB can unpack into a full memory
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} does not unpack: {error}. Delete it and run again.") from error
    if content[: len(header)] != header:
        raise UserError(
            f"{path} is not an IDX file of shape {shape}: it begins with {content[: len(header)].hex(' ')}."
        )
    if len(content) != size:
        raise UserError(f"{path} does not unpack to the {size} bytes of shape {shape}. Delete it.")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def _read_frey(path: Path) -> np.ndarray:
    pixels = np.ascontiguousarray(read_mat(path, "ff", (560, 1965)).T)
    if hashlib.sha256(pixels.data).hexdigest() != FREY_PIXELS:
        raise UserError(f"{path} does not hold the Frey faces: the digest of its pixels is wrong. Delete it.")
    return shuffle(pixels)


def read_mat(path: Path, variable: str, shape: tuple[int, int]) -> np.ndarray:
    """The uint8 matrix of that shape which is the only variable of an uncompressed MATLAB v5 file.

    Nothing but this layout is read: scipy's reader of all layouts ends the process on some damaged files.
    variable: its name, of at most four letters. Raises: UserError for a file that holds anything else.
    """
    size = math.prod(shape)
    flags = struct.pack("<4I", 6, 8, 9, 0)  # tags are a type and a number of bytes; class 9 is uint8
    dimensions = struct.pack("<2I2i", 5, 8, *shape)
    name = struct.pack("<2H4s", 1, len(variable), variable.encode())
    matrix = flags + dimensions + name + struct.pack("<2I", 2, size)
    header = b"\x00\x01IM" + struct.pack("<2I", 14, len(matrix) + size) + matrix
    try:
        with path.open("rb") as stream:
            stream.seek(124)  # behind a text for people
            content = stream.read(len(header) + size + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error}. Mend its permissions or delete it.") from error
    if content[: len(header)] != header or len(content) != len(header) + size:
        raise UserError(
            f"{path} is not a MATLAB v5 file with one uint8 matrix {variable!r} of shape {shape}. Replace it with "
            "the file from its mirror."
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape, order="F")


def _read_digits() -> np.ndarray:
    from sklearn.datasets import load_digits  # here, because it costs every other dataset a second

    return shuffle(load_digits().data.astype(np.uint8))


def shuffle(images: np.ndarray) -> np.ndarray:
    """Images, or what belongs to them one by one, in the order of numpy's RandomState(0) permutation.

    The paper does not give its order. This stream is frozen across numpy versions, and an independent trial
    of the protocol used this very permutation, so that its values can be compared with ours.
    """
    return images[np.random.RandomState(0).permutation(len(images))]


MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
FREY_MIRRORS = (
    "https://cs.nyu.edu/~roweis/data/",
    "https://github.com/lawrennd/datasets_mirror/raw/main/brendan_faces/",
)
MNIST_TRAIN = "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
MNIST_TEST = "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
FREY = "265a83a23adb081755cd3de375509828e690324d1d60f076b8ecebc840d59c64"

DATASETS = {
    "mnist": Dataset(
        (28, 28),
        255.0,
        50_000,  # of 60 000: the paper's training set leaves out the customary validation images
        10_000,
        _read_mnist,
        (
            RemoteFile("train-images-idx3-ubyte.gz", 9_912_422, MNIST_TRAIN, MNIST_MIRRORS),
            RemoteFile("t10k-images-idx3-ubyte.gz", 1_648_877, MNIST_TEST, MNIST_MIRRORS),
        ),
    ),
    "frey": Dataset(
        (28, 20),
        256.0,
        1600,
        365,
        _read_frey,
        (RemoteFile("frey_rawface.mat", 1_100_584, FREY, FREY_MIRRORS),),
    ),
    "digits": Dataset((8, 8), 16.0, 1500, 297, _read_digits),
}
