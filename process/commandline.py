"""The command line of every script, described once: in the script's docstring.

Help texts follow argparse's own: lower case, no full stop, each complete in itself, with its unit and its default:
"resample songs to this rate, in Hz (default: 32000)".
"""

import argparse
import inspect
import shlex
import sys
import textwrap
from pathlib import Path
from typing import NoReturn

from process.errors import UserError, printable


class Parser(argparse.ArgumentParser):
    """Refuses empty arguments. A path that is empty is the current folder, which a variable that is not set is not.

    Errors take one line, whatever names are in them.
    """

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))

    def parse_known_args(self, args=None, namespace=None):  # which parse_args calls
        typed = sys.argv[1:] if args is None else list(args)
        for argument in typed:
            if argument == "" or (argument.startswith("--") and argument.endswith("=")):
                self.error(f"expected no empty argument, found '{argument}': is a variable not set?")
        return super().parse_known_args(typed, namespace)


def parser_from(documentation: str, **options) -> argparse.ArgumentParser:
    """Make a parser whose --help begins with the first paragraph of a script's docstring, its purpose, and ends with
    the second one, its example commands. `options` are ArgumentParser's."""
    purpose, _, rest = inspect.cleandoc(documentation).partition("\n\n")
    examples, _, _ = rest.partition("\n\n")
    return Parser(
        description=purpose,
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )


class Renamed(argparse.Action):
    """An option under its old name: an error that tells the new one, given as `const`."""

    def __call__(self, parser, namespace, values, option_string=None):
        parser.error(f"{option_string} is called {self.const} now")


def renamed(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Make an option's old name an error. It is not in --help."""
    none = argparse.SUPPRESS
    parser.add_argument(old, action=Renamed, const=new, nargs="?", dest=none, default=none, help=none)


def typed(script: str, argv: list[str] | None) -> str:
    """A script's command line as it can be typed again. argv: what main() was given, None for the process's own."""
    return shlex.join([script, *(sys.argv[1:] if argv is None else argv)])


def named_path(text: str) -> tuple[str, Path]:
    """'NAME=PATH' or 'PATH' -> (name or '', path). Raises UserError for 'NAME=': see Parser."""
    name, separator, path = text.partition("=")
    if not separator or Path(text).exists():
        return "", Path(text)
    if not path:
        raise UserError(f"expected NAME=PATH, found '{text}': is a variable not set?")
    return name, Path(path)
