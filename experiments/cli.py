"""Command lines to calls of `main(config)`, with errors that a user can act on."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, TypeVar

import tyro

from bert_jax.errors import InputError, unknown

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
    """Parse the command line, then call `main`.

    A user error is printed without a traceback and exits with status 2; an interruption exits with status 130.

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
    try:
        main(parse(configs, args))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted; finished rows are kept, the same command goes on", file=sys.stderr)
        sys.exit(130)


def parse(configs: NamedConfigs[Config] | type[Config] | UnionType, args: Sequence[str]) -> Config:
    """Parse arguments to settings. For --help and invalid flags it prints and exits, as `tyro.cli` does.

    Raises:
        InputError: there are no settings of that name.
    """
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


def _program() -> str:
    """The program as the user typed it, `python -m MODULE` if it was started that way."""
    spec: Any = sys.modules["__main__"].__spec__
    return f"python -m {spec.name}" if spec else sys.argv[0]
