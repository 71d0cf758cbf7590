"""config.yaml and its schema: what is refused, and what the protocol becomes: cells, searches, jobs, evidence."""

import copy
import itertools
import math
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aevb import UserError, config
from aevb.evidence import posterior, quadrature
from aevb.schedule import report_points, snapshot_points

FILE = Path(__file__).parents[1] / "config.yaml"
RAW = yaml.safe_load(FILE.read_text())
ALL = "mnist,frey,digits"
SCALES = ["smoke", "laptop", "paper"]  # from the smallest on
MISSING = object()


def changed(key, value):
    """The protocol with another value at a dotted key; MISSING takes the key away."""
    raw = copy.deepcopy(RAW)
    *sections, name = key.split(".")
    section = raw
    for part in sections:
        section = section[part]
    if value is MISSING:
        del section[name]
    else:
        section[name] = value
    return raw


def parsed(scale="laptop", datasets=ALL, **values):
    return config.parse(RAW | {"scale": scale, "datasets": datasets} | values)


def cell_of(configuration, path):
    [cell] = [cell for cell in configuration.all_cells() if cell.path == path]
    return cell


# ------------------------------------------------------------------------------------------------ refusals


def test_the_protocol_is_accepted():
    assert config.read(FILE) == config.parse(RAW)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("surprise", 1),
        ("models.mnist.surprise", 1),
        ("training.surprise", 1),
        ("step_size.surprise", 1),
        ("estimators.aevb.surprise", 1),
        ("evidence.surprise", 1),
        ("evidence.settings.annealed.surprise", 1),
        ("certification.surprise", 1),
        ("gradients.surprise", 1),
        ("gradients.runs.digits.surprise", 1),
        ("gradients.runs.cifar", {"n_hidden": 500, "n_latent": 10}),
        ("gradients.runs.digits.n_train", 500),  # it is the whole training set
        ("figures.figure2.mnist.surprise", 1),
        ("scales.smoke.surprise", 1),
        ("figures.figure6", {}),
        ("models.cifar", {"decoder": "bernoulli"}),
        ("scales.smoke.samples.figure6", 1e6),
        ("step_size.n_latent.cifar", 3),
    ],
)
def test_an_unknown_key_is_refused_by_its_full_name(key, value):
    with pytest.raises(UserError, match=f"  {key}.*: "):
        config.parse(changed(key, value))


@pytest.mark.parametrize(
    "key",
    [
        *["scale", "datasets", "device", "models", "training", "step_size", "estimators", "evidence"],
        *["certification", "gradients", "gradients.draws", "gradients.runs.digits.n_latent"],
        *["evidence.settings", "scales.paper.certification_points"],
        *["figures", "scales", "training.batch_size", "scales.paper.seeds", "figures.figure2.mnist.n_latent"],
        *["estimators.aevb.settings", "models.mnist.decoder", "models.frey.log_var_floor"],
    ],
)
def test_a_missing_key_is_refused_by_name(key):
    section = key.removesuffix(".log_var_floor")  # the model as a whole is incomplete
    with pytest.raises(UserError, match=section):
        config.parse(changed(key, MISSING))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.batch_size", "many"),
        ("training.batch_size", 1.5),
        ("training.batch_size", None),
        ("training.batch_size", [100]),
        ("training.batch_size", 128),  # does not divide the samples between two reports
        ("training.batch_size", 20_000),
        ("device", "tpu"),
        ("models.mnist.decoder", "poisson"),
        ("models.mnist.log_var_floor", -13.6),  # it belongs to Gaussian decoders
        ("step_size.candidates", 0.1),
        ("step_size.candidates", []),
        ("step_size.candidates", [0.1, 0]),
        ("step_size.candidates", [float("nan")]),
        ("datasets", []),
        ("datasets", ["mnist", "cifar"]),
        ("figures.figure2.mnist.estimators", "aevb"),
        ("figures.figure2.mnist.estimators", []),
        ("figures.figure2.mnist.n_latent", []),
        ("figures.figure2.mnist.n_latent", 5),
        ("estimators.aevb.settings", {"n_samples": "one"}),
        ("evidence.settings.appendix_d_robust.acceptance", 1.0),
        ("evidence.settings.appendix_d_robust.acceptance", 0.0),
        ("evidence.settings.appendix_d_paper.draws", 24),
        ("evidence.settings.appendix_d_paper.warm_up", 49),
        ("evidence.settings.annealed.chains", 1),
        ("evidence.settings.annealed.temperatures", 1),
        ("evidence.settings.quadrature.tolerance", 0.0),
        ("evidence.settings.importance", {"temperatures": 100}),  # no argument of importance.evidence()
        ("evidence.settings.harmonic_mean", {"draws": 100}),
        ("estimators.aevb.settings", {"": 1}),  # a key without a name, which no list of names shows
        ("evidence.along_training", ["appendix_d_robust", ""]),
        ("evidence.along_training", ["harmonic_mean"]),
        ("evidence.at_the_end", ["annealed", "annealed"]),
        ("certification.estimators", ["harmonic_mean"]),
        ("certification.n_latent", []),
        ("certification.temperatures", 1),
        ("scales.smoke.certification_points", 1),
        ("gradients.estimators", ["aevb", "nice"]),  # no such file
        ("gradients.estimators", ["aevb", "mcem"]),  # build() takes no n_samples
        ("gradients.estimators", ["sgvb_a"]),  # relative to nothing
        ("gradients.estimators", ["aevb", "aevb"]),
        ("gradients.n_samples", []),
        ("gradients.n_samples", [5, 5]),
        ("gradients.draws", 8),
        ("gradients.draws", 51),  # the noise of the data is measured in pairs
        ("gradients.moments", [12_345]),
        ("gradients.runs.mnist", {"n_hidden": 500, "n_latent": 11}),  # trained by no figure
        ("step_size.seed", -1),
        ("scales.smoke.samples", 1e6),
        ("scales.smoke.seeds", True),  # YAML's yes, no, on and off
        ("training.batch_size", "100"),
        # not a finite number
        ("scales.smoke.samples.figure4.mnist", float("inf")),
        ("step_size.candidates", [float("inf")]),
        ("models.frey.log_var_floor", float("nan")),
        # a point of a grid given twice would be drawn, and counted, twice
        ("datasets", "digits,digits"),
        ("figures.figure2.mnist.n_latent", [3, 3]),
        ("figures.figure2.mnist.estimators", ["aevb", "aevb"]),
        ("figures.figure3.mnist.n_train", [1000, 1000]),
        ("figures.figure3.mnist.n_train", []),
        ("step_size.candidates", [0.1, 0.1]),
        # arguments of build() in src/aevb/estimators/aevb.py
        ("estimators.aevb.settings", {"n_sampels": 1}),
        # what the figures cannot show or the evidence refuses, hours later
        ("figures.figure4.mnist.n_latent", [3]),
        ("figures.figure4.mnist.estimators", ["aevb", "wake_sleep"]),
        ("figures.figure3.mnist.n_latent", [5]),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_name(key, value):
    with pytest.raises(UserError, match=key.removesuffix(".log_var_floor")):
        config.parse(changed(key, value))


@pytest.mark.parametrize(
    "key",
    [
        *["models.mnist", "step_size.n_latent.mnist", "scales.laptop.samples.figure4"],
        *["scales.laptop.samples.figure3", "scales.smoke.samples.figure2.mnist"],
    ],
)
def test_what_a_chosen_dataset_or_figure_needs_and_lacks_is_refused_by_name(key):
    # here and not as a KeyError while Snakemake plans; whichever scale is chosen, since jobs look at all of them
    name = key.rsplit(".", 1)[-1]
    with pytest.raises(UserError, match=name):
        config.parse(changed(key, MISSING))


SIZES = [
    *["training.batch_size", "training.train_points", "figures.figure2.mnist.n_hidden"],
    *["scales.smoke.seeds", "scales.smoke.evidence_points", "scales.smoke.evidence_every"],
    *[
        "evidence.settings.annealed.leapfrogs",
        "certification.n_features",
        "estimators.mcem.search_points",
        "step_size.n_latent.mnist",
    ],
]


@pytest.mark.parametrize("key", SIZES)
@given(value=st.integers(max_value=0))
def test_a_size_is_positive(key, value):
    with pytest.raises(UserError, match=key):
        config.parse(changed(key, value))


@pytest.mark.parametrize("key", ["figures.figure2.mnist.n_latent", "figures.figure3.mnist.n_train"])
@pytest.mark.parametrize("value", [0, -3])
def test_every_entry_of_a_grid_is_positive(key, value):
    with pytest.raises(UserError, match=rf"{key}\.1"):
        config.parse(changed(key, [3, value]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("scale", "huge", "'huge' is not one of smoke, laptop, overnight, paper"),
        ("figures.figure3.mnist.n_train", [50_001], "n_train 50001 exceeds the 50000 points of mnist"),
        ("figures.figure3.digits.n_train", [1_501], "n_train 1501 exceeds the 1500 points of digits"),
        ("figures.figure2.frey.estimators", ["nice"], r"figures\.figure2\.frey: estimator 'nice' has no"),
        ("estimators.mcem", MISSING, "estimator 'mcem' has no entry under estimators"),
        (
            "evidence.along_training",
            ["annealed"],
            "along_training: Figure 3 shows appendix_d_robust, so name it",
        ),
        ("evidence.along_training", [], "along_training: Figure 3 shows appendix_d_robust, so name it"),
    ],
)
def test_a_name_or_size_that_does_not_exist_is_refused(key, value, message):
    with pytest.raises(UserError, match=message):
        config.parse(changed(key, value))


def test_without_figure3_no_evidence_need_be_estimated_along_training():
    figures = {name: grids for name, grids in RAW["figures"].items() if name != "figure3"}
    evidence = RAW["evidence"] | {"along_training": []}
    assert parsed(figures=figures, evidence=evidence).cells("figure3") == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("estimators.iwae.settings.n_samples", 2.5, "a whole number is needed, not 2.5"),
        ("estimators.iwae.settings.n_samples", 5.0, "a whole number is needed, not 5.0"),
        ("estimators.aevb.settings.n_samples", 0, "at least 1 is needed, not 0"),
        ("estimators.mcem.settings.n_leapfrog", 0, "at least 1 is needed, not 0"),
        ("estimators.mcem.settings.acceptance", 1.5, "a share between 0 and 1 is needed, not 1.5"),
    ],
)
def test_a_setting_that_no_estimator_can_have_is_refused(key, value, message):
    with pytest.raises(UserError, match=re.escape(f"{key}: {message}")):
        config.parse(changed(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("figures.figure2.mnist.n_train", [1000, 50_000]),
        ("figures.figure3.mnist.n_latent", [2, 3]),
        ("figures.figure4.mnist.n_train", [1000, 50_000]),
        ("figures.figure5.mnist.n_train", [1000, 50_000]),
        ("figures.figure5.mnist.estimators", ["aevb", "wake_sleep"]),
    ],
)
def test_a_grid_whose_curves_a_figure_would_draw_as_one_is_refused(key, value):
    with pytest.raises(UserError, match=re.escape(key)):
        config.parse(changed(key, value))


def test_all_problems_are_told_at_once():
    raw = changed("training.batch_size", 0) | {"device": "tpu", "surprise": 1}
    with pytest.raises(UserError) as error:
        config.parse(raw)
    assert [line.split(":")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        "device",
        "training.batch_size",
        "surprise",
    ]


@given(st.integers(1, 10**9))
def test_a_budget_is_accepted_exactly_when_it_is_a_report_point(samples):
    raw = changed("scales.paper.samples.figure4", float(samples))
    if samples in report_points(10**9):
        assert config.parse(raw).scales["paper"].budget("figure4", "mnist") == samples
    else:
        with pytest.raises(UserError, match=r"scales\.paper\.samples\.figure4.*\n?.*not a report point"):
            config.parse(raw)


@pytest.mark.parametrize("value", [20_000.5, -20_000, 0, float("nan")])
def test_a_budget_that_is_no_count_is_refused(value):
    with pytest.raises(UserError, match=r"estimators\.aevb\.search_samples"):
        config.parse(changed("estimators.aevb.search_samples", value))


# -------------------------------------------------------------------------------------------------- reading


def written(folder, text):
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("scale: smoke\nscale: paper\n", "scale"),
        ("scales:\n  smoke: {seeds: 1, seeds: 2}\n", "seeds"),
        ("figures:\n  - {a: [{b: 1, b: 1}]}\n", "b"),
        ("1: a\n1: b\n", "1"),
    ],
)
def test_a_key_given_twice_is_refused_wherever_it_is(tmp_path, text, name):
    with pytest.raises(UserError, match=f"the key {name} is given twice"):
        config.read(written(tmp_path, text))


@pytest.mark.parametrize("text", ["", "smoke", "[scale, smoke]", "3"])
def test_a_file_without_keys_is_refused(tmp_path, text):
    with pytest.raises(UserError, match="must be a YAML mapping"):
        config.read(written(tmp_path, text))


@pytest.mark.parametrize("text", ["scale: [", "scale: 'smoke", "\tscale: smoke", "a: b: c", "? [a]\n: b"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path, text):
    with pytest.raises(UserError, match="is not valid YAML"):
        config.read(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml"):
        config.read(tmp_path / "config.yaml")
    path = tmp_path / "latin1.yaml"
    path.write_bytes("scale: größer".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin1\.yaml"):
        config.read(path)


def test_python_objects_are_refused_and_not_made(tmp_path):
    text = f"scale: !!python/object/apply:os.mkdir ['{tmp_path / 'owned'}']"
    with pytest.raises(UserError, match="python/object"):
        config.read(written(tmp_path, text))
    assert not (tmp_path / "owned").exists()


def test_the_command_lines_list_of_datasets_is_one_string():
    assert parsed(datasets="digits,frey").datasets == ("digits", "frey")
    assert parsed(datasets=["digits", "frey"]) == parsed(datasets="digits,frey")


# ---------------------------------------------------------------------------------------------------- cells


def test_every_cell_has_a_folder_of_its_own():
    cells = parsed().all_cells()
    assert len({cell.path for cell in cells}) == len(cells)


def test_a_cell_that_several_figures_show_is_the_same_cell():
    configuration = parsed()
    figures = ["figure2", "figure3", "figure4", "figure5"]
    by_path = {}
    for cell in itertools.chain.from_iterable(map(configuration.cells, figures)):
        assert by_path.setdefault(cell.path, cell) == cell


def test_the_papers_grid_is_whole():
    configuration = parsed(datasets="mnist,frey")
    figure2 = {(c.dataset, c.estimator, c.n_hidden, c.n_latent) for c in configuration.cells("figure2")}
    methods = ["aevb", "wake_sleep"]
    mnist = set(itertools.product(["mnist"], methods, [500], [3, 5, 10, 20, 200]))
    assert figure2 == mnist | set(itertools.product(["frey"], methods, [200], [2, 5, 10, 20]))
    figure3 = {(c.estimator, c.n_hidden, c.n_latent, c.n_train) for c in configuration.cells("figure3")}
    assert figure3 == set(itertools.product([*methods, "mcem"], [100], [3], [1000, 50_000]))


def test_only_the_chosen_datasets_have_cells():
    assert {cell.dataset for cell in parsed(datasets="frey").all_cells()} == {"frey"}


def test_a_cell_does_not_depend_on_the_scale():
    assert len({tuple(cell.path for cell in parsed(scale).all_cells()) for scale in SCALES}) == 1
    for scale in SCALES:
        assert parsed(scale).all_cells() == parsed().all_cells()


def test_the_training_points_of_the_fresh_bound_are_among_the_cells_own():
    assert all(cell.train_points == min(5000, cell.n_train) for cell in parsed().all_cells())


# ----------------------------------------------------------------------------------------------------- jobs


@pytest.mark.parametrize("scale", SCALES)
def test_a_cell_is_trained_as_far_as_its_most_demanding_figure_asks(scale):
    configuration = parsed(scale)
    cell = cell_of(configuration, "mnist/aevb/h500-z5-n50000")  # of Figures 2 and 5
    budgets = [configuration.budget.budget(figure, "mnist") for figure in ("figure2", "figure5")]
    assert configuration.job(cell).samples == max(budgets)


@pytest.mark.parametrize(("small", "large"), list(itertools.combinations(SCALES, 2)))
def test_a_larger_scale_keeps_the_weights_a_smaller_one_ends_with(small, large):
    for cell in parsed().all_cells():
        short, long = parsed(small).job(cell), parsed(large).job(cell)
        assert short.samples <= long.samples
        assert short.samples in long.snapshots
        assert set(short.seeds) <= set(long.seeds) or large == "laptop"  # laptop: 1 seed, smoke: 2


BUDGETS = st.sampled_from(report_points(10**8)[1:])  # the first ends with the warm-up


@given(BUDGETS, BUDGETS, st.integers(1, 5))
def test_whatever_the_budgets_going_back_to_the_smaller_scale_trains_nothing(one, other, every):
    figures = ["figure2", "figure3", "figure4", "figure5", "comparison", "full_vb"]
    scales = copy.deepcopy(RAW["scales"])
    for name, samples in zip(["smoke", "paper"], sorted([one, other]), strict=True):
        scales[name] |= {"samples": dict.fromkeys(figures, float(samples)), "evidence_every": every}
    small, large = (parsed(scale, "digits", scales=scales) for scale in ("smoke", "paper"))
    for cell in small.all_cells():
        kept = {*large.job(cell).snapshots, large.job(cell).samples}
        assert small.job(cell).samples in kept
        if cell in small.cells("figure3"):
            assert asked(small.evidence_job(cell)) <= kept


@pytest.mark.parametrize("scale", SCALES)
def test_snapshots_are_report_points_within_the_budget(scale):
    configuration = parsed(scale)
    for cell in configuration.all_cells():
        job = configuration.job(cell)
        assert job.seeds == tuple(range(RAW["scales"][scale]["seeds"]))
        assert job.samples in job.snapshots
        assert list(job.snapshots) == sorted(set(job.snapshots) & set(report_points(job.samples)))


@pytest.mark.parametrize("scale", SCALES)
def test_gradients_are_followed_from_the_start_to_the_end_of_a_run_that_keeps_those_weights(scale):
    configuration = parsed(scale)
    cells = configuration.gradient_cells()
    assert {cell.dataset for cell in cells} == {"mnist", "frey", "digits"}
    for cell in cells:
        found, run = configuration.gradient_job(cell), configuration.job(cell)
        assert found.moments[0] == 0
        assert found.moments[-1] == run.samples
        assert list(found.moments) == sorted(set(found.moments))
        kept = {moment for moment in RAW["gradients"]["moments"] if moment <= run.samples}
        assert kept <= {*found.moments[1:]} <= {*run.snapshots}
        # a larger scale's run has them too: going back trains nothing
        for larger in SCALES[SCALES.index(scale) :]:
            assert {*found.moments[1:]} <= {*parsed(larger).job(cell).snapshots}


def test_gradients_of_a_dataset_that_is_not_chosen_or_not_named_are_not_followed():
    assert [cell.dataset for cell in parsed(datasets="frey").gradient_cells()] == ["frey"]
    raw = changed("gradients.runs", {})
    assert config.parse(raw).gradient_cells() == []


def test_only_cells_of_figure3_keep_every_snapshot_and_only_gradients_keep_some():
    configuration = parsed("laptop")
    for cell in configuration.all_cells():
        job = configuration.job(cell)
        if cell in configuration.cells("figure3"):
            assert set(snapshot_points(job.samples)) <= set(job.snapshots)
        elif cell not in configuration.gradient_cells():
            assert len(job.snapshots) <= len(SCALES)


# ------------------------------------------------------------------------------------------------- evidence


def asked(job):
    return {samples for task in job.tasks for samples in task.samples}


def test_an_estimator_of_the_evidence_is_left_out_where_n_z_is_too_large_for_it():
    configuration = parsed("laptop")
    for cell in configuration.evidence_cells():
        names = {task.name for task in configuration.evidence_job(cell).tasks}
        assert ("appendix_d_robust" in names) == (cell.n_latent < 5)
        assert {"elbo", "importance", "annealed"} <= names
        certified = configuration.certification_job(cell).settings
        assert ("quadrature" in certified) == (cell.n_latent < 4)
        assert certified["annealed"]["temperatures"] == RAW["certification"]["temperatures"]
    assert [job.n_latent for job in configuration.exact_jobs()] == RAW["certification"]["n_latent"]


@given(every=st.integers(1, 60))
def test_the_evidence_counts_back_from_the_last_report_point(every):
    raw = changed("scales.paper.evidence_every", every) | {"scale": "paper"}
    configuration = config.parse(raw)
    cell = configuration.cells("figure3")[0]
    tasks = {task.name: task.samples for task in configuration.evidence_job(cell).tasks}
    points = tasks["appendix_d_robust"]
    assert tasks["appendix_d_paper"] == points
    assert tasks["annealed"] == points[-1:]
    everything = snapshot_points(configuration.job(cell).samples)
    assert points[-1] == configuration.job(cell).samples
    assert points == tuple(p for i, p in enumerate(everything) if (len(everything) - 1 - i) % every == 0)


@pytest.mark.parametrize("scale", SCALES)
def test_the_evidence_is_asked_only_where_weights_are_kept(scale):
    configuration = parsed(scale)
    assert {cell.path for cell in configuration.evidence_cells()} == {
        cell.path for figure in ("figure2", "figure3") for cell in configuration.cells(figure)
    }
    for cell in configuration.evidence_cells():
        job = configuration.evidence_job(cell)
        assert asked(job) <= {*configuration.job(cell).snapshots}
        assert job.seeds == configuration.seeds
        assert job.points == RAW["scales"][scale]["evidence_points"]


# ------------------------------------------------------------------------------------------------- searches


def test_all_latent_sizes_of_a_dataset_method_and_width_share_one_search():
    configuration = parsed()
    for dataset, method in itertools.product(["mnist", "frey", "digits"], ["aevb", "wake_sleep"]):
        cells = [cell for cell in configuration.cells("figure2") if cell.estimator == method]
        shared = [configuration.search(cell) for cell in cells if cell.dataset == dataset]
        assert all(search == shared[0] for search in shared)
        assert shared[0].cell.n_latent == RAW["step_size"]["n_latent"][dataset]


def test_a_search_is_not_shared_between_methods_widths_and_training_sets():
    configuration = parsed(datasets="mnist,frey")
    paths = {configuration.search(cell).cell.path for cell in configuration.all_cells()}
    assert paths == {
        "mnist/aevb/h500-z10-n50000",
        "mnist/wake_sleep/h500-z10-n50000",
        "frey/aevb/h200-z10-n1600",
        "frey/wake_sleep/h200-z10-n1600",
        *[f"mnist/{name}/h100-z3-n{n}" for name in ("aevb", "wake_sleep") for n in (1000, 50_000)],
        "mnist/mcem/h100-z3-n1000",
    }


def test_mcem_searches_once_for_both_training_sets():
    configuration = parsed(datasets="mnist")
    one, other = [configuration.search(c) for c in configuration.cells("figure3") if c.estimator == "mcem"]
    assert one == other
    assert (one.cell.n_train, one.cell.train_points) == (1000, 1000)


def test_a_search_never_has_more_points_than_its_cell():
    configuration = parsed(datasets="digits")
    cell = cell_of(configuration, "digits/mcem/h50-z3-n500")
    assert configuration.search(cell).cell.n_train == 500


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        (
            "training.batch_size",
            500,
            r"estimators\.aevb\.search_samples, estimators\.full_vb\.search_samples, "
            r"estimators\.wake_sleep\.search_samples: .*50000 samples",
        ),
        ("estimators.wake_sleep.warm_up", 600, r"estimators\.wake_sleep\.search_samples: .*60000 samples"),
        ("comparison.search_samples.frey", 10_000, r"comparison\.search_samples\.frey: .*10000 samples"),
    ],
)
def test_a_search_that_ends_within_the_warm_up_is_refused(key, value, where):
    """All its candidates would still stand where they began."""
    with pytest.raises(UserError, match=rf"{where}; make it longer"):
        config.parse(changed(key, value))


def test_minibatches_of_500_need_the_searches_that_docs_deviations_names():
    longer = changed("training.batch_size", 500)
    for name in ("aevb", "wake_sleep", "full_vb"):
        longer["estimators"][name]["search_samples"] = 2.5e5
    config.parse(longer)
    with pytest.raises(
        UserError, match=r"scales\.smoke\.samples\.figure2, .*such a run ends within the warm-up"
    ):
        config.parse(longer | {"scale": "smoke"})


def test_a_method_without_warm_up_may_search_shortly():
    config.parse(changed("estimators.mcem.search_samples", 10_000))


def test_where_the_wanted_latent_size_is_not_in_the_grid_the_smallest_is_searched():
    raw = changed("step_size.n_latent.mnist", 7)
    configuration = config.parse(raw)
    cell = cell_of(configuration, "mnist/aevb/h500-z200-n50000")
    assert configuration.search(cell).cell.n_latent == 2  # of Figures 4 and 5


def test_a_search_does_not_depend_on_the_scale_nor_its_seed_on_the_runs():
    for cell in parsed().all_cells():
        assert len({parsed(scale).search(cell).model_dump_json() for scale in SCALES}) == 1
        [seed] = parsed().search(cell).seeds
        assert seed not in parsed("paper").seeds


def test_a_search_is_of_the_cells_own_kind():
    configuration = parsed()
    for cell in configuration.all_cells():
        search = configuration.search(cell)
        size = {"n_latent", "n_train", "train_points"}
        assert search.cell.model_dump(exclude=size) == cell.model_dump(exclude=size)
        assert search.candidates == tuple(RAW["step_size"]["candidates"])


def test_what_config_repeats_to_stay_free_of_torch_agrees_with_its_source():
    limits = {name: limit for name, (_, _, limit) in config.EVIDENCE.items() if math.isfinite(limit)}
    of_chains = dict.fromkeys(("appendix_d_robust", "appendix_d_paper"), posterior.MAX_LATENT)
    assert limits == of_chains | {"quadrature": quadrature.MAX_LATENT}


# -------------------------------------------------------------------------------------- studies, added estimators


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def build(model, optimiser, n_train, n_samples=1):\n    return None\n")
    return path


def test_an_added_estimator_is_compared_like_the_baseline(mine):
    configuration = parsed(add=str(mine))
    cells = configuration.cells("comparison")
    added = [cell for cell in cells if cell.estimator == "mine"]
    assert [cell.dataset for cell in added] == [cell.dataset for cell in cells if cell.estimator == "aevb"]
    for cell in added:
        assert cell.source == str(mine)
        assert cell.settings == {}
        assert configuration.comparison_search(cell).cell == cell
        assert configuration.comparison_evidence_job(cell).splits == ("test",)
        assert configuration.comparison_job(cell).seeds == tuple(
            range(RAW["scales"]["laptop"]["comparison_seeds"])
        )
    assert parsed(add=[str(mine)]) == configuration
    assert "mine" not in {cell.estimator for cell in configuration.all_cells()}
    without = parsed()
    assert without.all_cells() == configuration.all_cells()


def test_an_entry_of_its_own_goes_before_the_baselines(mine):
    own = {"mine": {"source": str(mine), "warm_up": 7, "search_samples": 1e5, "settings": {"n_samples": 3}}}
    configuration = parsed(add=str(mine), estimators=RAW["estimators"] | own)
    assert configuration.estimators["mine"].warm_up == 7
    assert {cell.warm_up for cell in configuration.cells("comparison") if cell.estimator == "mine"} == {7}


def test_one_file_may_have_several_entries_with_other_settings(mine):
    entry = RAW["estimators"]["aevb"] | {"source": str(mine)}
    own = {f"mine_{n}": entry | {"settings": {"n_samples": n}} for n in (1, 2)}
    compared = RAW["comparison"] | {"estimators": [*own]}
    configuration = parsed(estimators=RAW["estimators"] | own, comparison=compared)
    settings = {cell.estimator: cell.settings for cell in configuration.cells("comparison")}
    assert settings["mine_2"] == {"n_samples": 2}
    for name in ("iwae", "Mine"):
        with pytest.raises(UserError, match=f"estimators.{name}: "):
            parsed(estimators=RAW["estimators"] | {name: entry})


def test_an_added_estimator_is_compared_once_however_often_it_is_named(mine, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = RAW["estimators"] | {"mine": RAW["estimators"]["aevb"] | {"source": "mine.py", "settings": {}}}
    named = {"estimators": own, "comparison": RAW["comparison"] | {"estimators": ["mine"]}}
    for same in (
        parsed(add=f" {mine}, ,{mine} "),
        parsed(add=["mine.py", str(mine), f"../{tmp_path.name}/mine.py"]),
        parsed(add="mine.py", **named),
    ):
        compared = [cell.estimator for cell in same.cells("comparison") if cell.dataset == "digits"]
        assert compared.count("mine") == 1


def test_two_added_estimators_of_one_name_are_refused(mine, tmp_path):
    other = tmp_path / "other" / "mine.py"
    other.parent.mkdir()
    other.write_text(mine.read_text())
    own = RAW["estimators"] | {"mine": RAW["estimators"]["aevb"] | {"source": str(other)}}
    says = f"add: {mine} and {other} are both called 'mine'; rename one of the files"
    for wrong in ({"add": f"{mine},{other}"}, {"add": str(mine), "estimators": own}):
        with pytest.raises(UserError, match=re.escape(says)):
            parsed(**wrong)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("comparison.baseline", "nothing", "comparison: .*'nothing' has no entry under estimators"),
        ("comparison.estimators", ["nothing"], "comparison: .*'nothing' has no entry"),
        ("comparison.estimators", ["aevb"], "comparison.estimators: aevb is the baseline itself"),
        ("comparison.estimators", ["iwae", "iwae"], "names something twice"),
        ("comparison.sizes.mnist.n_latent", 5, "comparison.sizes.mnist.n_latent: .* at most 4"),
        ("comparison.sizes.mnist.n_train", 50_001, "exceeds the 50000 points"),
        (
            "comparison.search_samples.frey",
            MISSING,
            "comparison: .*search_samples lacks frey, which sizes has",
        ),
        ("comparison.search_samples.mnist", 4.1e5, "comparison.search_samples.mnist: .*not a report point"),
        ("comparison.search_seeds", 0, "comparison.search_seeds: .*greater than 0"),
        ("comparison.surprise", 1, "comparison.surprise"),
        ("full_vb.mnist.estimators", ["nothing"], "full_vb: mnist: estimator 'nothing'"),
        ("scales.smoke.comparison_seeds", 0, "scales.smoke.comparison_seeds"),
        ("scales.smoke.samples.comparison", MISSING, "scales.smoke.samples.comparison is missing"),
        ("scales.paper.comparison_seeds", 2000, "step_size.seed"),
        ("estimators.renyi.settings", {"beta": 1}, "build.. of renyi.py takes no beta"),
        ("estimators.aevb.source", "elsewhere.py", "There is no estimator at|the suite has its own"),
    ],
)
def test_wrong_studies_are_refused_by_name(key, value, words):
    with pytest.raises(UserError, match=words):
        config.parse(changed(key, value))


def test_the_comparisons_search_is_the_same_for_every_method_and_leaves_the_figures_alone():
    lengthened = parsed(comparison=RAW["comparison"] | {"search_samples": dict.fromkeys(RAW["models"], 8e5)})
    for cell in lengthened.cells("comparison"):
        search = lengthened.comparison_search(cell)
        assert (search.cell, search.samples) == (cell, 800_000)
        assert not set(search.seeds) & set(lengthened.comparison_job(cell).seeds)
    for cell in lengthened.all_cells():
        assert lengthened.search(cell) == parsed().search(cell)
    several = parsed(comparison=RAW["comparison"] | {"search_seeds": 4})
    assert {several.comparison_search(cell).seeds for cell in several.cells("comparison")} == {
        tuple(RAW["step_size"]["seed"] + n for n in range(4))
    }
    for cell in several.all_cells():
        assert several.search(cell) == parsed().search(cell)
    # of a method whose searches take fewer points, as many
    with_mcem = parsed(comparison=RAW["comparison"] | {"estimators": ["mcem"]})
    [mcem] = [
        cell for cell in with_mcem.cells("comparison") if (cell.dataset, cell.estimator) == ("mnist", "mcem")
    ]
    assert with_mcem.comparison_search(mcem).cell.n_train == RAW["estimators"]["mcem"]["search_points"]


@pytest.mark.parametrize("scale", SCALES)
def test_whichever_trains_first_a_figure_and_the_comparison_find_their_weights(scale):
    """They share the store: the one that comes second finds weights at its end, or trains on to it."""
    configuration = parsed(scale)
    both = [cell for cell in configuration.cells("comparison") if cell in configuration.all_cells()]
    assert both
    for cell in both:
        figure, compared = configuration.job(cell), configuration.comparison_job(cell)
        for first, second in ((figure, compared), (compared, figure)):
            missed = {point for point in second.snapshots if point <= first.samples} - {*first.snapshots}
            assert not missed


def test_studies_train_nothing_further_than_the_figures_need():
    """Otherwise `all` would take longer for their sake."""
    for scale in SCALES:
        configuration = parsed(scale)
        for cell in configuration.all_cells():
            wanted = [name for name in configuration.figures if cell in configuration.cells(name)]
            furthest = max(configuration.budget.budget(name, cell.dataset) for name in wanted)
            assert configuration.job(cell).samples == furthest
