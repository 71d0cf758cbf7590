"""Whatever lies in a file, a reader of the suite's gives what is asked for or one UserError: nothing else, ever.

`make test` looks at a few hundred inputs each; `make fuzz` gives each property the seconds of AEVB_FUZZ_SECONDS.
What was found stands as an @example above its property.
"""

import contextlib
import copy
import gzip
import io
import math
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aevb import UserError, config, data, strict_yaml
from aevb.experiments import canonical

SECONDS = float(os.environ.get("AEVB_FUZZ_SECONDS", "0"))
PROTOCOL = Path(__file__).parents[1] / "config.yaml"
RAW = yaml.safe_load(PROTOCOL.read_text())


def fuzzed(prop):
    """Once in ordinary tests; again and again, with other inputs each time, until SECONDS are over."""
    once = settings(
        deadline=None,
        max_examples=150,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )(prop)

    def repeated(*fixtures):
        end = time.monotonic() + SECONDS
        once(*fixtures)
        while time.monotonic() < end:
            once(*fixtures)

    return repeated


@st.composite
def damaged(draw, whole: bytes):
    """Bytes of a good file: some changed, cut off, or with others in between."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["change", "cut", "insert", "repeat", "length"]))
        if kind == "change" and content:
            content[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=20))
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 200))]
        else:  # a number such as headers hold, small or absurd
            number = draw(st.sampled_from([0, 1, 2**16, 2**31 - 1, 2**32 - 1]))
            content[at : at + 4] = struct.pack(draw(st.sampled_from(["<I", ">I"])), number)
    return bytes(content)


def read_or_refuse(path, read):
    """What is read, or None where the file is refused by its name."""
    try:
        return read()
    except UserError as error:
        message = str(error)
    assert str(path) in message
    return None


# ------------------------------------------------------------------------------------------------------------ IDX

SHAPE = (3, 2, 4)
IMAGES = np.arange(math.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
IDX = struct.pack(">4i", 2051, *SHAPE) + IMAGES.tobytes()


@pytest.mark.parametrize("unpacked", [True, False])
def test_an_idx_file_is_the_array_or_refused(tmp_path, unpacked):
    """Damage before the compression, which a wrong digest would let through, and after it."""
    path = tmp_path / "images.gz"

    @fuzzed
    @given(st.one_of(st.binary(max_size=200), damaged(IDX if unpacked else gzip.compress(IDX))))
    @example(gzip.compress(IDX) * 2)
    @example(b"")
    def check(content):
        path.write_bytes(gzip.compress(content) if unpacked else content)
        found = read_or_refuse(path, lambda: data.read_idx(path, SHAPE))
        if found is not None:
            assert (found.shape, found.dtype) == (SHAPE, np.uint8)
            assert gzip.decompress(path.read_bytes()) == IDX[:16] + found.tobytes()

    check()


# ------------------------------------------------------------------------------------------------------------ MAT


PIXELS = np.arange(24, dtype=np.uint8).reshape(6, 4)


def mat(**variables) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables)
    return stream.getvalue()


def test_a_mat_file_is_the_matrix_or_refused(tmp_path):
    """scipy's own reader ends the process with a segmentation fault on some of these files."""
    path = tmp_path / "faces.mat"

    @fuzzed
    @given(st.one_of(st.binary(max_size=300), damaged(mat(ff=PIXELS))))
    @example(b"")
    @example(mat(ff=PIXELS, gg=PIXELS))
    @example(mat(ff=PIXELS.astype(float)))
    def check(content):
        path.write_bytes(content)
        found = read_or_refuse(path, lambda: data.read_mat(path, "ff", PIXELS.shape))
        if found is not None:
            assert (found.shape, found.dtype) == (PIXELS.shape, np.uint8)
            assert content[-24:] == found.tobytes("F")

    check()


# --------------------------------------------------------------------------------------------------------- config


def places(value, path=()):
    """The path of everything below a value."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


PLACES = list(places(RAW))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**9, -(10**9), 2**63, 10**400, 10_000, 1_000_000]),
    st.floats(),
    st.sampled_from(
        ["", "aevb", "mnist", "smoke", "mcem", "appendix_d_robust", "../x.py", "a b", "é", "\x00", "1e4"]
    ),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers(0, 3), st.none()), inner, max_size=3),
    ),
    max_leaves=5,
)


@st.composite
def protocols(draw):
    """The protocol with a few values replaced, sections moved, or keys gone."""
    raw = copy.deepcopy(RAW)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(PLACES))
        section = raw
        try:
            for key in path[:-1]:
                section = section[key]
            if draw(st.booleans()):
                section[path[-1]] = draw(VALUES)
            elif isinstance(section, dict):
                section.pop(path[-1], None)
                section[draw(st.text(max_size=6))] = draw(VALUES)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change has taken this place away
    return raw


def test_a_configuration_is_refused_or_every_job_of_it_can_be_planned():
    @fuzzed
    @given(protocols())
    def check(raw):
        try:
            plan = config.parse(raw)
        except UserError:
            return
        for cell in plan.all_cells():
            canonical(plan.job(cell))
            canonical(plan.search(cell))
            canonical(plan.check_job(cell))
        for cell in plan.evidence_cells():
            canonical(plan.evidence_job(cell))
        for cell in plan.cells("comparison"):
            canonical(plan.comparison_job(cell))
            canonical(plan.comparison_evidence_job(cell))
        for cell in plan.gradient_cells():
            canonical(plan.gradient_job(cell))
        for cell in plan.cells("full_vb"):
            canonical(plan.job(cell))
        for job in plan.exact_jobs():
            canonical(job)

    check()


@pytest.mark.parametrize("whole", [b"", b"a: [1, {b: 2}]\nc: &x {d: 1}\ne: *x\n", PROTOCOL.read_bytes()])
def test_a_yaml_file_is_a_mapping_or_refused(tmp_path, whole):
    path = tmp_path / "config.yaml"

    @fuzzed
    @given(st.one_of(st.binary(max_size=100), st.text(max_size=200).map(str.encode), damaged(whole)))
    @example(b"[" * 5000)
    @example(b"{a: " * 5000)
    @example(b"a: " + b"9" * 5000)
    @example(b"a: 2001-99-99\n")
    @example(b"a: 1\na: 2\n")
    @example(b"? {a: 1}\n: 2\n")
    @example(b"a: &x [*x]\n")
    @example(b"&x a: *x\n")
    @example(b"<<: 3\n")
    @example(b"<<: {a: 1}\na: 2\n")
    @example(b"? !!set {a}\n: 1\n")
    @example(b"!!python/object/apply:os.system ['false']\n")
    @example(b"\xff\xfe\x00")
    def check(content):
        path.write_bytes(content)
        assert isinstance(read_or_refuse(path, lambda: strict_yaml.load(path)), dict | None)

    check()


def test_whatever_a_small_yaml_file_holds_is_no_configuration_and_refused_as_one(tmp_path):
    path = tmp_path / "config.yaml"

    @fuzzed
    @given(st.one_of(damaged(PROTOCOL.read_bytes()), VALUES.map(lambda value: yaml.dump(value).encode())))
    @example(b"scale: &x [*x]\n")
    @example(b"datasets: &x {a: *x}\n")
    @example(b"a: &a [1,1]\nb: &b [*a,*a]\nc: &c [*b,*b]\n")
    def check(content):
        path.write_bytes(content)
        with contextlib.suppress(UserError):
            config.read(path)

    check()
