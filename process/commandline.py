"""The command line of every script, described once: in the script's docstring.

Help texts follow argparse's own: lower case, no full stop, each complete in itself, with its unit and its default:
"resample songs to this rate, in Hz (default: 32000)".
"""

import argparse
import inspect
import textwrap


def parser_from(documentation: str, **options) -> argparse.ArgumentParser:
    """Make a parser whose --help begins with the first paragraph of a script's docstring, its purpose, and ends with
    the second one, its example commands. `options` are ArgumentParser's."""
    purpose, _, rest = inspect.cleandoc(documentation).partition("\n\n")
    examples, _, _ = rest.partition("\n\n")
    return argparse.ArgumentParser(
        description=purpose,
        epilog=f"examples:\n{textwrap.indent(textwrap.dedent(examples), '  ')}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
