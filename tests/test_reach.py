"""How far runs go: by hand, and a line for what is alike."""

import pandas as pd

from aevb import reach
from aevb.experiments import AS_PUBLISHED, CERTIFIED

PAPER = pd.DataFrame(
    [
        {"figure": figure, "dataset": "mnist", "n_latent": z, "n_train": n, "method": method, "split": split}
        | {"samples": samples, "nats": -100.0}
        for figure, z, n, method, ends in [
            (2, 3, 50_000, "aevb", (250e6, 240e6)),
            (2, 5, 50_000, "aevb", (251e6, 90e6)),
            (2, 10, 50_000, "aevb", (250e6, 250e6)),
            (3, 3, 1000, "mcem", (60e6, 60e6)),
        ]
        for split, end in zip(("train", "test"), ends, strict=True)
        for samples in (1e6, end)
    ]
)


def runs(*lengths, figure=2, n_latent=3, n_train=50_000, estimator="aevb"):
    cell = {"figure": figure, "dataset": "mnist", "n_latent": n_latent, "n_train": n_train}
    return pd.DataFrame([cell | {"estimator": estimator, "samples": samples} for samples in lengths])


def lines(*frames):
    return reach.table(pd.concat(frames), PAPER).splitlines()[2:]


def test_the_third_longest_run_and_the_longest_stand_beside_the_paper():
    assert lines(runs(10**7, 5 * 10**7, 10**7, 2 * 10**7)) == [
        "| Figure 2, MNIST: AEVB, N_z = 3 | 10 M | 50 M (1 seed) | 250 M |"
    ]
    assert lines(runs(10**7, 5 * 10**7, 10**7, 5 * 10**7))[0].split(" | ")[2] == "50 M (2 seeds)"


def test_where_several_seeds_go_as_far_as_any_none_goes_further():
    [line] = lines(runs(*[10**7] * 4))
    assert line == "| Figure 2, MNIST: AEVB, N_z = 3 | 10 M |  | 250 M |"


def test_of_fewer_seeds_only_the_longest_are_told():
    [line] = lines(runs(10**6, 10**7))
    assert line == "| Figure 2, MNIST: AEVB, N_z = 3 |  | 10 M (1 seed) | 250 M |"


def test_panels_that_are_followed_alike_share_a_line():
    three = [10**7] * 3
    mcem = runs(*three, figure=3, n_train=1000, estimator="mcem")
    found = lines(mcem, runs(*three, n_latent=10), runs(*three, n_latent=5), runs(*three, 10**8))
    assert found == [
        "| Figure 2, MNIST: AEVB, N_z = 5, 10 | 10 M |  | 250 M to 251 M |",
        "| Figure 2, MNIST: AEVB, N_z = 3 | 10 M | 100 M (1 seed) | 250 M |",
        "| Figure 3, MNIST: MCEM, N_train = 1000 | 10 M |  | 60 M |",
    ]


def test_runs_that_the_paper_has_no_curve_of_are_left_out():
    assert lines(runs(10**7, n_latent=2), runs(10**7)) == lines(runs(10**7))


def test_figure_3_is_told_as_far_as_its_log_p_is_known():
    cell = {
        "dataset": "mnist",
        "estimator": "mcem",
        "n_hidden": 100,
        "n_latent": 3,
        "n_train": 1000,
        "seed": 0,
    }
    run = pd.DataFrame([cell | {"samples": samples, "split": "test"} for samples in (10**7, 63 * 10**6)])
    estimate = run.assign(samples=[10**7, 50 * 10**6], evidence_estimator=CERTIFIED)
    other = run.assign(evidence_estimator=AS_PUBLISHED)
    found = reach.shown(run, pd.concat([estimate, other]))
    assert found[["figure", "samples"]].to_numpy().tolist() == [[2, 63 * 10**6], [3, 50 * 10**6]]
    [line] = reach.table(found[found["figure"] == 3], PAPER).splitlines()[2:]
    assert line == "| Figure 3, MNIST: MCEM, N_train = 1000 |  | 50 M (1 seed) | 60 M |"
