"""Run ``bidsharmony`` in a container with the folders of this machine: ``bidsharmony-docker``.

Takes the options of ``bidsharmony`` itself. Each path among them is mounted, read-only where it is
only read, and named by its place in the container. Needs nothing but Python's own library, so that
``pip install --no-deps bidsharmony`` is enough on a machine that has Docker or Podman.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bidsharmony.bids.templates import templateflow_home
from bidsharmony.cli.config import ConfigError, converted, read_config
from bidsharmony.cli.listing import complain, say
from bidsharmony.cli.options import EXIT_DONE, EXIT_ENVIRONMENT, OneLineParser, build_parser
from bidsharmony.cli.parser import dashed, typed_options

IMAGE = 'bidsharmony'
"""What ``docker build --tag bidsharmony .`` makes."""

ENGINES = ('docker', 'podman')

PLACES = {
    'bids_dir': '/in:ro',
    'output_dir': '/out',
    'work_dir': '/work',
    'weights': '/options/{}:ro',
    'bids_filters': '/options/{}:ro',
    'scanner_from': '/options/{}:ro',
    'derivatives': '/derivatives/{}:ro',
}
"""Where a path that an option names is mounted, and how; files keep their names."""

TEMPLATES = '/templateflow'
"""Where the templates of ``--output-spaces`` are in the container."""

READ_HERE = ('config_file',)
"""Files whose paths are those of this machine: their options are passed on in their place."""

UNFIT = {'use_plugin': 'a batch system is outside of the container. Run bidsharmony itself there'}
"""Options that a container cannot follow, and why."""


def translate(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Turn a command line of this machine into mounts and a command line of the container.

    Parameters
    ----------
    arguments : sequence of str
        as ``bidsharmony`` takes them

    Returns
    -------
    mounts : list of str
        ``HOST:PLACE`` or ``HOST:PLACE:ro``
    inside : list of str
        the same command with the paths of the container

    Raises
    ------
    SystemExit
        if ``bidsharmony`` has no such options

    Examples
    --------
    >>> mounts, inside = translate(['/data', '/results', 'participant', '--nprocs', '2'])
    >>> mounts
    ['/data:/in:ro', '/results:/out']
    >>> inside
    ['/in', '/out', 'participant', '--nprocs', '2']
    """
    parser = build_parser()
    for action in parser._actions:
        # values are checked in the container, which has the files where they are named
        action.type = None
    words = [dashed(argument) for argument in arguments]
    given = vars(parser.parse_args(words))
    if (config_file := given.pop('config_file')) is not None:
        given |= _of_config(parser, Path(config_file).expanduser(), typed_options(words))
    mounts: list[str] = []
    first: list[str] = []
    options: list[str] = []
    for action in parser._actions:
        value = given.get(action.dest)
        if value is None or value == action.default:
            continue
        if reason := UNFIT.get(action.dest):
            parser.error(f'{action.option_strings[-1]}: {reason}')
        values = value if isinstance(value, list) else [value]
        if action.nargs != 0:
            values = [_inside(action.dest, item, mounts) for item in values]
        if not action.option_strings:
            first += values
        else:
            options += _spelled(action, values)
    if given.get('output_spaces'):
        mounts.append(f'{templateflow_home()}:{TEMPLATES}:ro')
    return mounts, [*first, *options]


def _of_config(
    parser: argparse.ArgumentParser, path: Path, typed: Collection[str]
) -> dict[str, Any]:
    """Read the options of a file that were not typed, as they would have been."""
    actions = {action.dest: action for action in parser._actions}
    try:
        found = read_config(path, parser._actions)
    except ConfigError as error:
        parser.error(str(error))
    given = {}
    for name, value in found.items():
        if name not in typed:
            texts = actions[name].nargs != 0 and not isinstance(value, list)
            given[name] = str(value) if texts else converted(path, actions[name], value)
    return given


def _spelled(action: argparse.Action, values: list[Any]) -> list[str]:
    """Write an option as it was given."""
    name = action.option_strings[-1]
    if action.nargs == 0:  # -v is counted, the others are true or false
        return [name] * int(values[0] or 1)
    if action.nargs is None:
        return [word for value in values for word in (name, value)]
    return [name, *values]


def _inside(option: str, value: str, mounts: list[str]) -> str:
    """Name a value as the container sees it, and note what has to be mounted for that."""
    place = PLACES.get(option)
    if place is None:
        return value
    before, path, after = '', value, ''
    if option == 'derivatives':
        dataset, _, path = value.partition('=')
        before = f'{dataset}='
    if option == 'scanner_from':
        path, _, column = value.rpartition(':')
        after = f':{column}'
    host = Path(path).expanduser()
    if option == 'scanner_from' and not host.is_file():
        return value  # it is looked for in the dataset
    place = place.format(before.rstrip('=') or host.name)
    mounts.append(f'{host.resolve()}:{place}')
    return f'{before}{place.removesuffix(":ro")}{after}'


def engine_command(
    engine: str, image: str, mounts: Sequence[str], inside: Sequence[str]
) -> list[str]:
    """Write the whole command: read-only, without network, as the user who calls it.

    Parameters
    ----------
    engine : str
        path or name of ``docker`` or ``podman``
    image : str
    mounts, inside : sequence of str
        as `translate` gives them
    """
    user = ['--user', f'{os.getuid()}:{os.getgid()}']
    if Path(engine).name == 'podman' and os.getuid():
        # without root, podman maps the caller to root of the container unless it is told not to
        user = ['--userns', 'keep-id', *user]
    volumes = [word for mount in mounts for word in ('--volume', mount)]
    has_templates = any(mount.endswith(f':{TEMPLATES}:ro') for mount in mounts)
    told = ['--env', f'TEMPLATEFLOW_HOME={TEMPLATES}'] if has_templates else []
    return [
        *(engine, 'run', '--rm', '--read-only', '--tmpfs', '/tmp', '--network', 'none'),
        *(*user, *volumes, *told, image, *inside),
    ]


def wrapper_parser() -> argparse.ArgumentParser:
    """Describe the options that are not those of ``bidsharmony``."""
    parser = OneLineParser(
        prog='bidsharmony-docker',
        description='Run bidsharmony in a container with the folders of this machine.',
        epilog='All other arguments are those of bidsharmony: see bidsharmony --help.',
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument('--image', default=IMAGE, help='image to run (default %(default)s)')
    parser.add_argument(
        '--engine', choices=ENGINES, help='what runs it (default: the first that is installed)'
    )
    parser.add_argument(
        '--print-command', action='store_true', help='show the command, and run nothing'
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the container and return its exit code; 3 where there is no engine."""
    parser = wrapper_parser()
    own, arguments = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    if not arguments or {'-h', '--help'} & set(arguments):
        say(parser.format_help())
        return EXIT_DONE
    engines = [own.engine] if own.engine else ENGINES
    engine = next((found for name in engines if (found := shutil.which(name))), None)
    if engine is None and not own.print_command:
        return complain(
            f'{" and ".join(engines)}: not found on the PATH. Install one, or use Apptainer',
            EXIT_ENVIRONMENT,
        )
    mounts, inside = translate(arguments)
    command = engine_command(engine or engines[0], own.image, mounts, inside)
    if own.print_command:
        say(shlex.join(command) + '\n')
        return EXIT_DONE
    for mount in mounts:
        # an engine would make what is missing, as root
        if not mount.endswith(':ro'):
            Path(mount.rpartition(':')[0]).mkdir(parents=True, exist_ok=True)
    return subprocess.run(command, check=False).returncode


if __name__ == '__main__':
    sys.exit(main())
