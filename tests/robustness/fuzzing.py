"""Read damaged inputs in processes of their own, whose memory and time are limited."""

import os
import random
import resource
import shutil
import signal
import traceback
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import inputs
from mutations import copy, mutate
from processes import context

from bert_jax.errors import InputError

SECONDS, BYTES = 10, 2**30
"""Processor time and memory that reading one input may take, beyond what the process has at its start."""
_PATIENCE = 300
"""Seconds after which a process that does nothing has hung, on however busy a machine."""


class Outcome(NamedTuple):
    """What became of an input. fault: what is wrong with that, or empty."""

    number: int
    case: str
    result: str
    fault: str = ""


def write_originals(folder: Path) -> Path:
    """Write valid inputs of every kind."""
    for name, kind in inputs.KINDS.items():
        (folder / name).mkdir()
        kind.write(folder / name)
    return folder


def fuzz(originals: Path, work: Path, seed: int, total: int) -> Iterator[Outcome]:
    """Damage and read so many inputs; faulty ones are left in `work`."""
    number = 0
    while number < total:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, originals, work, seed, number, total))
        process.start()
        theirs.close()
        try:
            while number < total:
                if not ours.poll(_PATIENCE):
                    process.kill()
                outcome = ours.recv()
                yield outcome
                number += 1
        except EOFError:
            process.join()
            yield Outcome(number, case_of(originals, seed, number)[0], "died", _death(process.exitcode))
            number += 1
        process.join()


def _death(status: int | None) -> str:
    if status == -signal.SIGPROF:
        return f"it took more than {SECONDS} s"
    return f"the process ended with status {status}"


def case_of(originals: Path, seed: int, number: int) -> tuple[str, random.Random]:
    """The original that an input is made from, and the generator of its damage."""
    rng = random.Random(f"{seed}-{number}")
    kind = rng.choices(list(inputs.KINDS), [kind.weight for kind in inputs.KINDS.values()])[0]
    return f"{kind}/{rng.choice(sorted(path.name for path in (originals / kind).iterdir()))}", rng


def _work(connection: Connection, originals: Path, work: Path, seed: int, first: int, total: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BYTES
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in range(first, total):
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        connection.send(try_one(originals, work, seed, number))
    connection.close()


def try_one(originals: Path, work: Path, seed: int, number: int) -> Outcome:
    """Damage and read one input, and remove it unless that fails."""
    case, rng = case_of(originals, seed, number)
    folder = copy(originals / case, work / str(number) / Path(case).name)
    done = f"{case} ({'; '.join(mutate(rng, folder))})"
    result, fault = "read", ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            inputs.KINDS[case.partition("/")[0]].read(folder)
        except InputError as error:
            result = f"refused: {error}"
        except BaseException:
            fault = traceback.format_exc(limit=-4)
    strange = [warning for warning in caught if warning.category is not UserWarning]
    if strange:
        fault += f"\n{strange[0].category.__name__}: {strange[0].message} ({strange[0].filename}:{strange[0].lineno})"
    if not fault:
        shutil.rmtree(work / str(number))
    return Outcome(number, done, result, fault)
