"""Command lines to calls of `main(config)`, with errors that a user can act on."""

import contextlib
import importlib
import io
import os
import pkgutil
import re
import select
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import UnionType
from typing import Any, TypeVar

import tyro

from bert_jax.errors import InputError, unknown
from experiments.flags import commands_with

Config = TypeVar("Config")
NamedConfigs = dict[str, tuple[str, Config]]
"""Name -> (description, settings)."""


def named(kind: type[Config]) -> NamedConfigs[Config]:
    """Collect the named settings of one class from the files in `configs/`: name -> (docstring, settings)."""
    folder = importlib.import_module("configs").__path__
    modules = [importlib.import_module(f"configs.{info.name}") for info in pkgutil.iter_modules(folder)]
    return {
        module.NAME: ((module.__doc__ or "").strip(), module.config)
        for module in modules
        if isinstance(module.config, kind)
    }


def run(
    main: Callable[[Config], None],
    configs: NamedConfigs[Config] | type[Config] | UnionType,
    args: Sequence[str] | None = None,
    default: str | None = None,
) -> None:
    """Parse the command line, then call `main`; messages and exit statuses are those of `reporting`.

    Args:
        main: the experiment.
        configs: a dataclass to fill, or a union of dataclasses for subcommands; or named settings, from which the
            first argument selects one (even if there is only one) while the others override fields.
        args: the arguments; by default the process's own.
        default: the named settings used if the first argument is a flag other than --help, which lists them all.
    """
    args = sys.argv[1:] if args is None else args
    if default is not None and args and args[0].startswith("-") and args[0] not in ("-h", "--help"):
        args = [default, *args]
    with reporting():
        main(parse(configs, args))


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Report mistakes, interruptions and warnings without tracebacks and source lines.

    A user error is printed and exits with status 2, an interruption exits with status 130, and a command whose output
    nobody reads any more (`| head`) exits quietly. A warning is one line on standard error.
    """
    format_before, warnings.formatwarning = warnings.formatwarning, _format_warning
    try:
        with _quiet_without_reader():
            yield
    except InputError as error:
        with _quiet_without_reader():
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted; finished rows are kept, the same command goes on", file=sys.stderr)
        sys.exit(130)
    finally:
        warnings.formatwarning = format_before


@contextlib.contextmanager
def _quiet_without_reader() -> Iterator[None]:
    """Exit with the status of SIGPIPE once the reader of our output has ended."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        lost = [stream for stream in (sys.stdout, sys.stderr) if _has_no_reader(stream)]
        if not lost:
            raise
        for stream in lost:  # Python writes what is left in its buffer when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        sys.exit(128 + signal.SIGPIPE)


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"warning: {message}\n"


def _has_no_reader(stream: Any) -> bool:
    """Return True if a stream is a pipe whose reader has ended."""
    poll = select.poll()
    poll.register(stream.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def parse(configs: NamedConfigs[Config] | type[Config] | UnionType, args: Sequence[str]) -> Config:
    """Parse arguments to settings. For --help it prints and exits, as `tyro.cli` does.

    Raises:
        InputError: a flag or value is invalid or missing, or there are no settings of that name.
    """
    if any(word in ("-h", "--help") or word.startswith("--tyro-") for word in args):
        return _parse(configs, args)
    columns = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "1000000"  # so that no line of tyro's message is wrapped
    printed = io.StringIO()
    try:
        # tyro draws its frame in ASCII and without colours where standard output has no encoding.
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            config = _parse(configs, args)
    except SystemExit:
        first, _, rest = _unframe(printed.getvalue()).partition("\n")
        raise InputError(f"{first}{_elsewhere(first)}\n{rest}".strip()) from None
    finally:
        del os.environ["COLUMNS"]
        os.environ |= {} if columns is None else {"COLUMNS": columns}
    sys.stderr.write(printed.getvalue())
    return config


def _parse(configs: NamedConfigs[Config] | type[Config] | UnionType, args: Sequence[str]) -> Config:
    if not isinstance(configs, dict):
        chosen: Any = configs  # tyro takes unions, but its types do not
        filled: Config = tyro.cli(chosen, prog=_program(), args=args)
        return filled
    if not args or args[0].startswith("-"):
        return tyro.extras.overridable_config_cli(configs, prog=_program(), args=args)
    name, *overrides = args
    if name not in configs:
        raise unknown("configuration", name, configs)
    description, default = configs[name]
    # overridable_config_cli is not used here because its messages for nested fields name a class internal to tyro.
    return tyro.cli(
        type(default),
        prog=f"{_program()} {name}",
        description=description,
        args=overrides,
        default=default,
        config=(tyro.conf.AvoidSubcommands,),
    )


def _unframe(text: str) -> str:
    """Turn a framed message of tyro into two lines: the error, and the help of the flag or of similar ones.

    >>> print(_unframe(" Title\\n ---\\n Error parsing --seeds: not 'x'\\n ---\\n Argument helptext:\\n --seeds N"))
    --seeds: not 'x'
    --seeds N
    """
    parts = [" ".join(part.split()) for part in re.split(r"^ *-+ *$", text, flags=re.MULTILINE)]
    first, *others = parts[1:] or parts  # after the title
    first = first.partition(" Got errors: ")[0]  # of every type of a union, by its name in Python
    place = re.match(r"Error parsing (\S+): (?=(--)?)", first)
    if place is not None:
        # The name of the settings class says nothing, nor does that of a group before a flag.
        group = "" if place[2] or place[1][0].isupper() else f"{place[1]}: "
        first = group + first[place.end() :]
    wanted = [part for part in others if not part.startswith("For full helptext")]
    if place is None and not wanted:
        wanted = others
    return "\n".join([first, " ".join(wanted).removeprefix("Argument helptext: ")]).strip()


def _elsewhere(message: str) -> str:
    """Name the commands that have the first flag which a message calls unrecognised; empty if none has it."""
    flag = re.match(r"Unrecognized options: --([\w-]+)(?=,|$)", message)
    found = commands_with(flag[1]) if flag else []
    return f"; --{flag[1]} is a flag of {', '.join(found)}" if flag and found else ""


def command() -> str:
    """The command line of this process, to be given again: `python -m MODULE ARGUMENTS`; empty in any other process."""
    spec: Any = sys.modules["__main__"].__spec__
    ours = spec is not None and spec.name.startswith("experiments.")
    return shlex.join(["python", "-m", spec.name, *sys.argv[1:]]) if ours else ""


def _program() -> str:
    """The program as the user typed it, `python -m MODULE` if it was started that way."""
    spec: Any = sys.modules["__main__"].__spec__
    return f"python -m {spec.name}" if spec else sys.argv[0]
