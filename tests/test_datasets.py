"""datasets.py: what is said without the data is true of the data."""

from typing import get_args

from aevb import data, datasets, labels


def test_every_dataset_that_may_be_named_can_be_prepared():
    assert [*datasets.DATASETS] == [*get_args(datasets.Dataset)] == [*data.DATASETS]


def test_as_many_images_are_trained_on_as_is_said():
    said = {name: facts.n_train for name, facts in datasets.DATASETS.items()}
    assert {name: dataset.n_train for name, dataset in data.DATASETS.items()} == said


def test_those_with_labels_are_known():
    assert {*labels.SOURCES} == {name for name, facts in datasets.DATASETS.items() if facts.labelled}
