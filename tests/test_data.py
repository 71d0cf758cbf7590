"""data.py: what the experiments get, and every file that is not what it should be."""

import gzip
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from aevb import UserError, data
from aevb.download import fetch
from disks import MOMENTS, check_failed_save, file_limit
from offline import isolated, names, remote  # noqa: F401

REAL = Path(os.environ.get("AEVB_DATA_MIRROR") or "/nonexistent")
BODY = bytes(range(256)) * 40
SHAPE = (5, 2, 3)


# ---------------------------------------------------------------------------------------------------- readers


def idx(pixels: bytes, magic: int = 2051, shape: tuple[int, int, int] = SHAPE) -> bytes:
    return gzip.compress(struct.pack(">4i", magic, *shape) + pixels)


def read_flat(path: Path) -> np.ndarray:
    return data.read_idx(path, SHAPE).reshape(len(PIXELS) // 6, -1)


PIXELS = bytes(range(30))
GOOD_GZ = idx(PIXELS)
BAD_GZ = {
    "truncated": (GOOD_GZ[:-10], "does not unpack"),
    "bad CRC": (GOOD_GZ[:-8] + bytes([GOOD_GZ[-8] ^ 1]) + GOOD_GZ[-7:], "does not unpack: CRC"),
    "damaged": (GOOD_GZ[:12] + b"\xff\xff\xff" + GOOD_GZ[15:], "does not unpack"),
    "not gzip": (b"<!DOCTYPE html>", "does not unpack"),
    "bomb": (idx(bytes(20_000_000)), "does not unpack to the 46 bytes"),
    "labels": (idx(PIXELS, magic=2049), "not an IDX file"),
    "count": (idx(PIXELS, shape=(6, 2, 3)), "not an IDX file"),
    "dims": (idx(PIXELS, shape=(5, 3, 2)), "not an IDX file"),
    "too few": (idx(PIXELS[:-1]), "does not unpack to"),
    "empty": (gzip.compress(b""), "not an IDX file"),
}


@pytest.mark.parametrize("fault", BAD_GZ)
def test_a_bad_idx_file_is_refused(tmp_path, monkeypatch, fault):
    content, reason = BAD_GZ[fault]
    (tmp_path / "tiny.gz").write_bytes(content)
    tiny = data.Dataset((2, 3), 255.0, 3, 2, read_flat, (remote(content, name="tiny.gz"),))
    monkeypatch.setitem(data.DATASETS, "tiny", tiny)
    with pytest.raises(UserError, match=reason):
        data.prepare("tiny", tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path):
    (tmp_path / "bomb.gz").write_bytes(BAD_GZ["bomb"][0])
    tracemalloc.start()
    with pytest.raises(UserError):
        data.read_idx(tmp_path / "bomb.gz", SHAPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_good_idx_file_is_split_into_its_first_and_last_images(tmp_path, monkeypatch):
    (tmp_path / "tiny.gz").write_bytes(GOOD_GZ)
    file = remote(GOOD_GZ, name="tiny.gz")
    tiny = data.Dataset((2, 3), 255.0, 2, 1, read_flat, (file,))
    monkeypatch.setitem(data.DATASETS, "tiny", tiny)
    split = data.prepare("tiny", tmp_path)
    np.testing.assert_array_equal(split.train, np.arange(12).reshape(2, 6))
    np.testing.assert_array_equal(split.test, np.arange(24, 30).reshape(1, 6))


def test_a_bad_mat_file_is_refused(tmp_path):
    path = tmp_path / "frey_rawface.mat"
    faces = np.zeros((560, 1965), np.uint8)
    for content, reason in [
        ({"ff": faces.T}, "one uint8 matrix 'ff' of shape"),
        ({"ff": faces.astype(float)}, "one uint8 matrix"),
        ({"gg": faces}, "one uint8 matrix"),
        ({"ff": faces, "gg": faces}, "one uint8 matrix"),
        ({"ff": faces}, "does not hold the Frey faces"),
    ]:
        scipy.io.savemat(path, content)
        with pytest.raises(UserError, match=reason):
            data._read_frey(path)
    for damaged in (path.read_bytes()[:1000], b"\x80\x04cos\nsystem\n", b"", zlib.compress(b"x")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is not a MATLAB v5 file with one uint8 matrix"):
            data._read_frey(path)


def test_a_mat_file_is_read_as_scipy_reads_it(tmp_path):
    path = tmp_path / "faces.mat"
    matrix = np.random.default_rng(0).integers(256, size=(6, 4), dtype=np.uint8)
    for name in ("ff", "f", "face"):
        scipy.io.savemat(path, {name: matrix})
        np.testing.assert_array_equal(data.read_mat(path, name, (6, 4)), scipy.io.loadmat(path)[name])
        np.testing.assert_array_equal(data.read_mat(path, name, (6, 4)), matrix)


# ------------------------------------------------------------------------------------------------- the splits


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """`prepare` from the user's folder alone."""
    cache = tmp_path_factory.mktemp("cache")

    def prepare(name: str) -> data.Split:
        missing = [file.name for file in data.DATASETS[name].files if not (REAL / file.name).is_file()]
        if missing:
            pytest.skip(f"AEVB_DATA_MIRROR is not a folder with {', '.join(missing)}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AEVB_DATA_MIRROR", str(REAL))
            return data.prepare(name, cache)

    return prepare


@pytest.mark.parametrize(
    ("name", "n_train", "n_test", "shape", "scale", "digest"),
    [
        ("mnist", 50_000, 10_000, (28, 28), 255.0, "3fe1e6dc4fa96a24"),
        ("frey", 1600, 365, (28, 20), 256.0, "e63792ad13602a42"),
        ("digits", 1500, 297, (8, 8), 16.0, "b8ed9bbe49edf029"),
    ],
)
def test_the_splits(real, name, n_train, n_test, shape, scale, digest):
    split = real(name)
    dims = shape[0] * shape[1]
    assert split.train.shape == (n_train, dims)
    assert split.test.shape == (n_test, dims)
    assert split.train.dtype == split.test.dtype == np.uint8
    assert split.train.flags.c_contiguous
    assert (split.image_shape, split.scale) == (shape, scale)
    assert (data.DATASETS[name].image_shape, data.DATASETS[name].n_train) == (shape, n_train)
    assert 0.9 * scale < split.train.max() <= scale
    assert split.digest.startswith(digest), "the split moved, and with it every number of the experiments"


def test_mnist_keeps_the_order_of_its_files(real):
    split = real("mnist")
    raw = gzip.decompress((REAL / "train-images-idx3-ubyte.gz").read_bytes())
    assert split.train.tobytes() == raw[16 : 16 + 50_000 * 784]


def gaussian_log_density(fitted: np.ndarray, x: np.ndarray) -> float:
    """Mean log density of x, in nats, under the maximum-likelihood per-pixel Gaussian of `fitted`."""
    mean, variance = fitted.mean(0), fitted.var(0)
    return float((-0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance)).sum(1).mean())


def test_frey_without_latents_has_the_known_density(real):
    """Without latents: 577.0 nats on all of Frey/256, 578.6/569.3 on the split; /255 would be 2.19 off."""
    split = real("frey")
    train, test = split.train / split.scale, split.test / split.scale
    everything = np.concatenate([train, test])
    assert gaussian_log_density(everything, everything) == pytest.approx(577.0, abs=0.05)
    assert gaussian_log_density(train, train) == pytest.approx(578.6, abs=0.05)
    assert gaussian_log_density(train, test) == pytest.approx(569.3, abs=0.05)


def test_frey_faces_are_upright(real):
    """Rows are rows: a face is smoother as 28 x 20 than with its sides exchanged."""

    def roughness(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images, axis=1)).mean())

    faces = real("frey").train[:100].astype(float)
    assert roughness(faces.reshape(-1, 28, 20)) < 0.7 * roughness(faces.reshape(-1, 20, 28))


def test_an_unknown_dataset_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UserError, match="'cifar'; the known ones are mnist, frey, digits"):
        data.prepare("cifar", tmp_path)


# ------------------------------------------------------------------------------------------------ save, load


@pytest.fixture
def tiny_split():
    pixels = np.arange(60, dtype=np.uint8).reshape(10, 6)
    return data.make_split("tiny", pixels[:7], pixels[7:], 255.0, (2, 3))


def test_the_digest_covers_everything(tiny_split):
    train, test, scale, shape, digest = tiny_split
    other = train.copy()
    other[0, 0] += 1
    pixels = np.concatenate([train, test])
    variants = [
        ("other", train, test, scale, shape),
        ("tiny", other, test, scale, shape),
        ("tiny", train, test[::-1], scale, shape),
        ("tiny", pixels[:6], pixels[6:], scale, shape),
        ("tiny", train, test, 256.0, shape),
        ("tiny", train, test, scale, (3, 2)),
    ]
    digests = {data.make_split(*variant).digest for variant in variants}
    assert len(digests | {digest}) == len(variants) + 1


def test_save_then_load(tiny_split, tmp_path):
    path = tmp_path / "new folder" / "tiny.npz"
    data.save(tiny_split, path)
    first = path.read_bytes()
    loaded = data.load(path)
    for name, value in tiny_split._asdict().items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    assert type(loaded.scale) is float
    assert loaded.image_shape == (2, 3)
    assert loaded.train.dtype == np.uint8
    data.save(loaded, path)
    assert path.read_bytes() == first
    assert names(path.parent) == ["tiny.npz"]


def test_load_refuses_damage(tiny_split, tmp_path):
    path = tmp_path / "tiny.npz"
    data.save(tiny_split, path)
    good = path.read_bytes()
    fields = tiny_split._asdict()

    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="Cannot read"):
        data.load(path)
    path.write_bytes(good.replace(bytes(range(20, 30)), bytes(10)))  # the zip's own CRC sees this one
    with pytest.raises(UserError, match="Cannot read"):
        data.load(path)
    np.savez(path, **{**fields, "train": fields["train"] + 1})
    with pytest.raises(UserError, match="is damaged"):
        data.load(path)
    np.savez(path, **{name: value for name, value in fields.items() if name != "test"})
    with pytest.raises(UserError, match="Cannot read"):
        data.load(path)
    np.savez(path, **{**fields, "train": np.array([{}], dtype=object)})
    with pytest.raises(UserError, match="allow_pickle"):
        data.load(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="Cannot read"):
        data.load(path)
    (tmp_path / "frey.npz").write_bytes(good)
    with pytest.raises(UserError, match="not the dataset 'frey'"):
        data.load(tmp_path / "frey.npz")
    with pytest.raises(UserError, match="There is no"):
        data.load(tmp_path / "absent.npz")


@pytest.mark.parametrize("moment", MOMENTS[:-1])
def test_a_failed_save_keeps_the_old_file(tiny_split, tmp_path, monkeypatch, moment):
    check_failed_save(lambda path: data.save(tiny_split, path), tmp_path / "tiny.npz", monkeypatch, moment)


@pytest.mark.parametrize("limit", [0, 100, 30_000, 99_000, 100_700])
def test_wherever_the_kernel_stops_a_save_the_old_file_stays(tmp_path, limit):
    """In the first array's header, in the arrays, in the zip's directory: numpy and zipfile see each differently."""
    path = tmp_path / "large.npz"
    data.save(data.make_split("large", *np.zeros((2, 5, 10_000), np.uint8), 255.0, (100, 100)), path)
    before = path.read_bytes()
    assert len(before) > 100_800
    with file_limit(limit), pytest.raises(UserError, match=r"Cannot write .*large\.npz: .*too large"):
        data.save(data.make_split("large", *np.ones((2, 5, 10_000), np.uint8), 255.0, (100, 100)), path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["large.npz"]


def test_a_download_that_the_kernel_stops_leaves_nothing(tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "large.bin").write_bytes(bytes(10_000))
    monkeypatch.setenv("AEVB_DATA_MIRROR", str(mirror))
    with file_limit(5000), pytest.raises(UserError, match=r"Cannot use .*cache for large\.bin: .*too large"):
        fetch(remote(bytes(10_000), name="large.bin"), tmp_path / "cache")
    assert names(tmp_path / "cache") == []


def test_saving_below_a_file_is_refused(tiny_split, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="Cannot write"):
        data.save(tiny_split, tmp_path / "file" / "tiny.npz")
