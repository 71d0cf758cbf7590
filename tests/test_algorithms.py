"""algorithms.py: what a learning algorithm of the reader's may be called."""

import pytest

from aevb import UserError, algorithms


@pytest.mark.parametrize(
    ("source", "name"), [("mine.py", "mine"), ("/a/b c/my_2.py", "my_2"), ("pack.age.method", "method")]
)
def test_the_name_is_the_last_part(source, name):
    assert algorithms.name_of(source) == name


@pytest.mark.parametrize(
    "source",
    [
        "Mine.py",
        "2nd.py",
        "a-b.py",
        "x/.py",
        "iwae.py",
        "my.package.aevb",
        "nan.py",
        "null.py",
        "true.py",
        "inf.py",
    ],
)
def test_a_name_that_cannot_be_used_is_refused(source):
    with pytest.raises(UserError, match="rename"):
        algorithms.name_of(source)
