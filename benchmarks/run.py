"""Races by name, one after the other, without pytest: ``python -m benchmarks.run NAME … [--threads 1]``.

Rows are printed as they are found and timed; the record is written to ``benchmarks/results/NAME.json``, that of one thread to
``NAME_1thread.json``. Without a name, those that there are.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=2)
    parser.add_argument("--repetitions", type=int, default=5, help="of each row")
    parser.add_argument("--cutoff", type=float, help="stop fits of others that take so many times as long as ours")
    given = parser.parse_args()
    # before anything is imported: XLA, BLAS and OpenMP ask how many cores the process may use, once
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])

    from . import report
    from .catalogue import RACES
    from .race import race

    unknown = [name for name in given.names if name not in RACES]
    if unknown or not given.names:
        parser.error(f"unknown races {unknown}; there are:\n" + "\n".join(RACES))
    for name in given.names:
        raced = RACES[name] if given.cutoff is None else replace(RACES[name], cutoff=given.cutoff)
        report.save(
            race(raced, lambda line: print(line, flush=True), given.repetitions),
            "_1thread" if given.threads == 1 else "",
        )
    print(f"results: {report.folder()}")


if __name__ == "__main__":
    main()
