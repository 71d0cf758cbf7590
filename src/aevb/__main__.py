"""`python -m aevb JOB --option value ...`: the jobs that the workflow's rules call, see aevb/jobs/.

Options are the job's arguments. Exit status: 0 done, 1 a UserError (its message on stderr), 2 wrong usage, 128 + n
stopped by signal n.
"""

import argparse
import inspect
import sys
from pathlib import Path
from typing import get_type_hints

from aevb import UserError, jobs
from aevb.interrupts import Interrupted


def main(argv: list[str]) -> int:
    chooser = argparse.ArgumentParser(prog="python -m aevb", description="Jobs of the workflow.")
    chooser.add_argument("job", choices=jobs.NAMES)
    chosen = chooser.parse_args(argv[:1]).job
    function = jobs.load(chosen)
    parser = argparse.ArgumentParser(prog=f"python -m aevb {chosen}", description=inspect.getdoc(function))
    kinds = get_type_hints(function)
    for argument in inspect.signature(function).parameters:
        nargs = "*" if kinds[argument] == list[Path] else "+"
        parser.add_argument(f"--{argument.replace('_', '-')}", nargs=nargs, required=True)
    options = {}
    for name, words in vars(parser.parse_args(argv[1:])).items():
        try:
            options[name] = jobs.parse(words, kinds[name])
        except ValueError as error:
            parser.error(f"--{name.replace('_', '-')}: {error}")
    try:
        function(**options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except Interrupted as interruption:
        print(interruption, file=sys.stderr)
        return 128 + interruption.signal  # what a shell reports for a process that the signal ended
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
