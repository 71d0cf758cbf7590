# The paper as a graph of jobs: data -> step sizes -> training -> evidence -> figures and tables.
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from aevb import UserError, config as schema
from aevb.files import require_writable

min_version("9.27")  # what pyproject.toml requires

ROOT = Path(workflow.basedir)
# jobs, and jobs of jobs, import nothing that happens to lie where they work: a random.py there must not take the place
# of the library's
os.environ.update(PYTHONSAFEPATH="1")


try:
    require_writable(Path.cwd(), Path("results"))
    # before Snakemake reads it: names a key given twice, and the line of an error
    SHOWN = schema.read(ROOT / "config.yaml")
except UserError as error:
    raise WorkflowError(str(error)) from None


configfile: str(ROOT / "config.yaml")


try:
    EXPERIMENTS = schema.parse(config)
except UserError as error:
    raise WorkflowError(str(error)) from None


report: "workflow/report/workflow.rst"


# only with --software-deployment-method apptainer; the environment is otherwise the one of `make env`
container: "docker://python:3.11"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/readme.smk"
include: "workflow/rules/certify.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/full_vb.smk"
include: "workflow/rules/gradients.smk"
include: "workflow/rules/representation.smk"
include: "workflow/rules/check.smk"
include: "workflow/rules/benchmark.smk"


rule all:
    default_target: True
    input:
        FIGURES,
        TABLES,
        SOUND,
    localrule: True


rule everything:
    input:
        rules.all.input,
        rules.certify.input,
        rules.compare.input,
        rules.full_vb.input,
        rules.gradients.input,
        rules.representation.input,
    localrule: True
