"""What can be said of each dataset without its data; where that comes from is aevb.data's and aevb.labels'."""

from typing import Literal, NamedTuple

Dataset = Literal["mnist", "frey", "digits"]


class Facts(NamedTuple):
    name: str  # in print
    n_train: int  # images to train on
    labelled: bool  # whether it is known what each image shows
    in_paper: bool


DATASETS: dict[str, Facts] = {  # in the order of the rows of panels
    "mnist": Facts("MNIST", 50_000, labelled=True, in_paper=True),
    "frey": Facts("Frey Face", 1_600, labelled=False, in_paper=True),
    "digits": Facts("digits", 1_500, labelled=True, in_paper=False),
}


def dataset_name(dataset: str) -> str:
    return DATASETS[dataset].name if dataset in DATASETS else dataset
