"""How a broken rule is said: a sentence that names it, and the line that raised where something did."""

from collections.abc import Iterator
from contextlib import contextmanager

from aevb import UserError


class BrokenRule(UserError):
    """A promise that an estimator does not keep."""


@contextmanager
def as_a_rule(rule: str) -> Iterator[None]:
    """What an estimator raises, as the rule that it breaks and the line that raised."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        line = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "somewhere"
        raise BrokenRule(f"{rule}; it raised {type(error).__name__}: {error} ({line})") from error


def require(kept: bool, rule: str) -> None:
    if not kept:
        raise BrokenRule(rule + ".")
