"""labels.py: the class of every image, in the images' order, and every file that is not what it should be."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from aevb import UserError, data, labels
from disks import MOMENTS, check_failed_save
from helpers import rejects
from offline import isolated, names, remote  # noqa: F401

REAL = Path(os.environ.get("AEVB_DATA_MIRROR") or "/nonexistent")


def images(n_train: int = 7, n_test: int = 3, name: str = "tiny") -> data.Split:
    pixels = np.arange((n_train + n_test) * 6, dtype=np.uint8).reshape(-1, 6)
    return data.make_split(name, pixels[:n_train], pixels[n_train:], 255.0, (2, 3))


IMAGES = images()
CLASSES = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], np.uint8)


@pytest.fixture
def tiny():
    return labels.make_labels("tiny", CLASSES[:7], CLASSES[7:], IMAGES)


# ---------------------------------------------------------------------------------------------------- prepare


def idx(classes: bytes, magic: int = 2049, count: int = 10) -> bytes:
    return gzip.compress(struct.pack(">2i", magic, count) + classes)


GOOD = idx(CLASSES.tobytes())


def source(content: bytes) -> labels.Source:
    return labels.Source(lambda path: data.read_idx(path, (10,)), (remote(content, name="tiny.gz"),))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (GOOD[:-10], "does not unpack"),
        (b"<!DOCTYPE html>", "does not unpack"),
        (idx(CLASSES.tobytes(), magic=2051), r"not an IDX file of shape \(10,\): it begins with 00 00 08 03"),
        (idx(CLASSES.tobytes(), count=11), "not an IDX file"),
        (idx(CLASSES.tobytes()[:-1]), "does not unpack to the 18 bytes"),
        (idx(bytes(20_000_000)), "does not unpack to the 18 bytes"),
        (gzip.compress(b""), "not an IDX file"),
    ],
    ids=["truncated", "not gzip", "images", "count", "too few", "bomb", "empty"],
)
def test_a_bad_idx_file_is_refused(tmp_path, monkeypatch, content, reason):
    (tmp_path / "tiny.gz").write_bytes(content)
    monkeypatch.setitem(labels.SOURCES, "tiny", source(content))
    with pytest.raises(UserError, match=reason):
        labels.prepare("tiny", tmp_path, IMAGES)


def test_a_file_with_another_digest_is_refused(tmp_path, monkeypatch):
    (tmp_path / "tiny.gz").write_bytes(idx(CLASSES[::-1].tobytes()))
    monkeypatch.setitem(labels.SOURCES, "tiny", source(GOOD))
    with pytest.raises(UserError, match=r"No address served tiny\.gz"):
        labels.prepare("tiny", tmp_path, IMAGES)


def test_labels_are_cut_as_the_images_are(tmp_path, monkeypatch):
    (tmp_path / "tiny.gz").write_bytes(GOOD)
    monkeypatch.setitem(labels.SOURCES, "tiny", source(GOOD))
    found = labels.prepare("tiny", tmp_path, images(5, 2))
    np.testing.assert_array_equal(found.train, CLASSES[:5])
    np.testing.assert_array_equal(found.test, CLASSES[-2:])


@pytest.mark.parametrize("n", [(11, 3), (7, 11)])
def test_fewer_labels_than_images_are_refused(tmp_path, monkeypatch, n):
    (tmp_path / "tiny.gz").write_bytes(GOOD)
    monkeypatch.setitem(labels.SOURCES, "tiny", source(GOOD))
    with pytest.raises(UserError, match="labels of 'tiny' do not match its images"):
        labels.prepare("tiny", tmp_path, images(*n))


def test_a_dataset_without_labels_is_refused_with_those_that_have_them(tmp_path):
    with pytest.raises(UserError, match="'frey' has no labels; those of mnist, digits are known"):
        labels.prepare("frey", tmp_path, IMAGES)


# ------------------------------------------------------------------------------------------------- the labels


def real(name: str, cache: Path) -> tuple[data.Split, labels.Labels]:
    files = [*data.DATASETS[name].files, *labels.SOURCES[name].files]
    missing = [file.name for file in files if not (REAL / file.name).is_file()]
    if missing:
        pytest.skip(f"AEVB_DATA_MIRROR is not a folder with {', '.join(missing)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEVB_DATA_MIRROR", str(REAL))
        split = data.prepare(name, cache)
        return split, labels.prepare(name, cache, split)


@pytest.mark.parametrize(("name", "n_train", "n_test"), [("mnist", 50_000, 10_000), ("digits", 1500, 297)])
def test_images_of_a_class_resemble_each_other(tmp_path, name, n_train, n_test):
    """Labels belong to images by position: one step off, and the nearest class mean is right by chance alone."""
    split, found = real(name, tmp_path)
    assert found.train.shape == (n_train,)
    assert found.test.shape == (n_test,)
    assert found.train.dtype == found.test.dtype == np.uint8
    assert set(found.train) == set(found.test) == set(range(10))
    known, points = split.train[:5000].astype(float), split.test[:1000].astype(float)

    def check(classes):
        train, test = classes
        means = np.stack([known[train[: len(known)] == c].mean(0) for c in range(10)])
        nearest = np.square(points[:, None] - means).sum(-1).argmin(-1)
        assert (nearest == test[: len(points)]).mean() > 0.75

    check(found[:2])
    rejects(
        check,
        (np.roll(found.train, 1), found.test),
        (found.train, np.roll(found.test, 1)),
        (found.train, found.train[-n_test:]),
    )


def test_the_digits_are_those_of_scikit_learn(tmp_path):
    split, found = real("digits", tmp_path)
    images, classes = load_digits(return_X_y=True)
    by_image = dict(zip(map(bytes, images.astype(np.uint8)), classes, strict=True))
    assert len(by_image) == len(images)
    assert [by_image[bytes(image)] for image in split.train] == found.train.tolist()
    assert [by_image[bytes(image)] for image in split.test] == found.test.tolist()


# ------------------------------------------------------------------------------------------------ save, load


def test_save_then_load(tiny, tmp_path):
    path = tmp_path / "new folder" / "tiny_labels.npz"
    labels.save(tiny, path)
    loaded = labels.load(path, IMAGES)
    for name, value in tiny._asdict().items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    assert names(path.parent) == ["tiny_labels.npz"]


def test_the_digest_covers_everything(tiny):
    exchanged = CLASSES.copy()
    exchanged[[0, 1]] = exchanged[[1, 0]]
    variants = [
        ("other", CLASSES[:7], CLASSES[7:], IMAGES),
        ("tiny", exchanged[:7], CLASSES[7:], IMAGES),
        ("tiny", CLASSES[:7], CLASSES[:6:-1], IMAGES),
        ("tiny", CLASSES[:7], CLASSES[7:], IMAGES._replace(digest="of other images")),
        ("tiny", CLASSES[:6], CLASSES[6:], images(6, 4)),
    ]
    digests = {labels.make_labels(*variant).digest for variant in variants}
    assert len(digests | {tiny.digest}) == len(variants) + 1


def test_load_refuses_damage(tiny, tmp_path):
    path = tmp_path / "tiny_labels.npz"
    labels.save(tiny, path)
    good = path.read_bytes()
    fields = tiny._asdict()

    with pytest.raises(UserError, match="does not hold the labels of these images"):
        labels.load(path, images()._replace(digest="of other images"))
    with pytest.raises(UserError, match="do not match its images"):
        labels.load(path, images(6, 3))
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="Cannot read"):
        labels.load(path, IMAGES)
    np.savez(path, **{**fields, "train": fields["train"] + 1})
    with pytest.raises(UserError, match="is damaged"):
        labels.load(path, IMAGES)
    np.savez(path, train=fields["train"], digest=fields["digest"])
    with pytest.raises(UserError, match="Cannot read"):
        labels.load(path, IMAGES)
    np.savez(path, **{**fields, "test": np.array([{}], dtype=object)})
    with pytest.raises(UserError, match="allow_pickle"):
        labels.load(path, IMAGES)
    np.savez(path, **IMAGES._asdict())  # the images themselves
    with pytest.raises(UserError, match="do not match"):
        labels.load(path, IMAGES)
    (tmp_path / "mnist_labels.npz").write_bytes(good)
    with pytest.raises(UserError, match="'mnist'"):
        labels.load(tmp_path / "mnist_labels.npz", IMAGES)
    with pytest.raises(UserError, match="There is no"):
        labels.load(tmp_path / "absent_labels.npz", IMAGES)


@pytest.mark.parametrize("moment", MOMENTS[:-1])
def test_a_failed_save_keeps_the_old_file(tiny, tmp_path, monkeypatch, moment):
    check_failed_save(lambda path: labels.save(tiny, path), tmp_path / "tiny_labels.npz", monkeypatch, moment)
