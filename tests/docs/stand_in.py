"""Stand in for the programs of the documentation: check what each was given, and note it.

``python -m tests.docs.stand_in PROGRAM ARGUMENTS``, in the folder where a reader would be. What is
ours is read by its own parser, or is run; an engine, a scheduler or a neighbour does the part of
its work that the next command needs. What a reader could not do ends with a line on stderr and 1.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tests.docs.commands import ROOT

DATA = Path(os.environ.get('DOCS_DATA', '/data'))
"""What the documentation calls ``/data``."""

TRULY = 'DOCS_TRULY'
"""Names in the environment what is run as a reader would: program and arguments, one a line."""

LISTED = 'DOCS_LISTED'
"""Names in the environment the file that gets a line of JSON for each call."""

IMAGE = 'bidsharmony'


class UnusableError(ValueError):
    """A reader who types this gets an error."""


def need(condition: object, said: str) -> None:
    """Refuse what cannot work."""
    if not condition:
        raise UnusableError(said)


def parsed(arguments: Sequence[str]) -> None:
    """Read the options of ``bidsharmony``; its own parser says what is wrong."""
    from bidsharmony.cli.parser import parse_args

    parse_args(arguments)


def bidsharmony(*arguments: str) -> None:
    """Read the command line, or run it with a tiny network."""
    if not called_truly('bidsharmony', arguments):
        parsed(arguments)
        return
    weights = [] if '--weights' in arguments else ['--weights', DATA / 'tiny.safetensors']
    subprocess.run(
        [sys.executable, '-m', 'bidsharmony.cli.participant', *map(str, [*arguments, *weights])],
        check=True,
    )


def called_truly(program: str, arguments: Sequence[str]) -> bool:
    """Tell whether this is to be run, not only read."""
    return shown(program, arguments) in os.environ.get(TRULY, '').splitlines()


def shown(program: str, arguments: Sequence[str]) -> str:
    """Write a command as the documentation has it."""
    return ' '.join([program, *(word.replace(str(DATA), '/data') for word in arguments)])


def bidsharmony_docker(*arguments: str) -> None:
    """Run it: the engine that it calls is a stand-in."""
    from bidsharmony.cli.docker import main

    need(main(arguments) == 0, 'bidsharmony-docker did not end with 0')


def bidsharmony_phantom(*arguments: str) -> None:
    """Read the command line."""
    from bidsharmony.cli.phantom import build_parser, chosen_scanners, shipped_scanners

    options = build_parser().parse_args(arguments)
    chosen_scanners(options.scanners, list(shipped_scanners()))


def bidsharmony_train(*arguments: str) -> None:
    """Read the command line, and leave weights for the next one."""
    from bidsharmony.cli.train import build_parser

    options = build_parser().parse_args(arguments)
    need(options.out.suffix == '.safetensors', f'{options.out}: weights end in .safetensors')
    options.out.touch()


def docker(command: str, *arguments: str) -> None:
    """Build from a recipe that is there, or read what would run in the container."""
    if command == 'build':
        options = argparse.ArgumentParser(prog='docker build')
        options.add_argument('--tag')
        options.add_argument('context', type=Path)
        given = options.parse_args(arguments)
        need((given.context / 'Dockerfile').is_file(), 'no Dockerfile')
        need(given.tag == IMAGE, f'{given.tag}: the other commands run {IMAGE}')
        return
    need(command == 'run', f'docker {command}')
    options = argparse.ArgumentParser(prog='docker run')
    for name in ('--rm', '--read-only'):
        options.add_argument(name, action='store_true')
    options.add_argument('--network', choices=['none'])
    options.add_argument('--user', '-u')
    options.add_argument('--tmpfs')
    options.add_argument('--volume', '-v', action='append', default=[])
    options.add_argument('image')
    options.add_argument('rest', nargs=argparse.REMAINDER)
    given = options.parse_args(arguments)
    need(given.image == IMAGE, f'{given.image}: no such image, docker build makes {IMAGE}')
    need(given.user == f'{os.getuid()}:{os.getgid()}', 'it would write as another user')
    in_container(given.volume, given.rest)


def apptainer(command: str, *arguments: str) -> None:
    """Build from a recipe that is there, or read what would run in the container."""
    if command == 'build':
        image, recipe = map(Path, arguments)
        need(recipe.is_file(), f'{recipe}: no such recipe')
        image.touch()
        return
    need(command == 'run', f'apptainer {command}')
    options = argparse.ArgumentParser(prog='apptainer run')
    for name in ('--containall', '--cleanenv'):
        options.add_argument(name, action='store_true', required=True)
    options.add_argument('--bind', '-B', action='append', default=[])
    options.add_argument('image', type=Path)
    options.add_argument('rest', nargs=argparse.REMAINDER)
    given = options.parse_args(arguments)
    need(given.image.is_file(), f'{given.image}: no such image')
    also = filter(None, os.environ.get('APPTAINER_BIND', '').split(','))
    in_container([*given.bind, *also], given.rest)


def in_container(mounts: Sequence[str], arguments: Sequence[str]) -> None:
    """Read a command line of ``bidsharmony`` whose paths are those of a container."""
    places = {}
    for mount in mounts:
        source, *where = mount.split(':')
        need(Path(source).exists(), f'{source}: not there, so that it cannot be mounted')
        places[where[0] if where else source] = (source, where[1:])
    inside = []
    for word in arguments:
        name, equals, path = word.rpartition('=')
        found = [place for place in places if f'{path}/'.startswith(f'{place}/')]
        need(found or not path.startswith('/'), f'{path}: not in the container')
        for place in sorted(found, key=len)[-1:]:
            path = places[place][0] + path.removeprefix(place)
        inside.append(f'{name}{equals}{path}')
    parsed(inside)
    read_only = [source for source, how in places.values() if how == ['ro']]
    need(inside[1] not in read_only, 'the output is read-only')


def sbatch(*arguments: str) -> None:
    """Run what is submitted at once: the first task of an array, or a wrapped command."""
    options = argparse.ArgumentParser(prog='sbatch')
    options.add_argument('--parsable', action='store_true')
    for name in ('--array', '--job-name', '--dependency', '--mem', '--time', '--wrap'):
        options.add_argument(name)
    options.add_argument('script', nargs=argparse.REMAINDER)
    given = options.parse_args(arguments)
    if given.wrap:
        need(given.dependency == 'afterany:4711', f'{given.dependency}: not that of the array')
        subprocess.run(['bash', '-euc', given.wrap], check=True)
        return
    task = {'SLURM_ARRAY_TASK_ID': given.array.partition('-')[0]}
    subprocess.run(
        ['bash', *given.script], check=True, env={**os.environ, **task}, stdout=sys.stderr
    )
    sys.stdout.write('4711\n')


def make(*arguments: str) -> None:
    """Let the real one say what it would do."""
    for word in arguments:
        name, equals, _ = word.partition('=')
        text = (ROOT / 'Makefile').read_text(encoding='utf-8')
        known = f'\n{name} ?=' in text if equals else f'\n{name}:' in text
        need(known, f'{name}: the Makefile has none')
    subprocess.run(
        [os.environ['DOCS_MAKE'], '--dry-run', '--directory', ROOT, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def pip(*arguments: str) -> None:
    """See that what is to be installed is there."""
    options = argparse.ArgumentParser(prog='pip')
    options.add_argument('command', choices=['install'])
    options.add_argument('--no-deps', action='store_true')
    options.add_argument('--requirement', '-r', type=Path)
    options.add_argument('project', nargs='?')
    given = options.parse_intermixed_args(arguments)
    need(given.requirement is None or given.requirement.is_file(), f'{given.requirement}')
    if given.project is not None and not (Path(given.project) / 'setup.cfg').is_file():
        try:
            distribution(given.project)
        except PackageNotFoundError:
            need(False, f'{given.project}: neither a project nor what this one is installed with')


def python(*arguments: str) -> None:
    """Read the command line of a script of the repository, by the options in its source."""
    first, *rest = arguments
    if first == '-c':
        # nothing is run: the library would look for a network when it is imported
        for node in ast.walk(ast.parse(rest[0])):
            if isinstance(node, ast.ImportFrom):
                distribution(str(node.module).partition('.')[0])
        return
    if first == '-m':
        name, *rest = rest
        module = ROOT / name.replace('.', '/')
        script = module / '__main__.py' if module.is_dir() else module.with_suffix('.py')
    else:
        script = ROOT / first
    need(script.is_file(), f'{script}: no such script')
    parser_of(script).parse_args(rest)


def parser_of(script: Path) -> argparse.ArgumentParser:
    """Rebuild a script's parser without importing it, since that takes seconds."""
    parser = argparse.ArgumentParser(prog=script.name, allow_abbrev=False)
    for node in ast.walk(ast.parse(script.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'add_argument':
            names = [name.value for name in node.args if isinstance(name, ast.Constant)]
            given = {
                word.arg: word.value.value
                for word in node.keywords
                if word.arg in ('action', 'nargs', 'required', 'dest')
                and isinstance(word.value, ast.Constant)
            }
            parser.add_argument(*names, **given)
    return parser


def pre_commit(*arguments: str) -> None:
    """See that there is something to install."""
    need(arguments == ('install',), f'pre-commit {arguments}')
    need((ROOT / '.pre-commit-config.yaml').is_file(), 'no .pre-commit-config.yaml')


def qsiprep(bids_dir: str, output_dir: str, *arguments: str) -> None:
    """Leave what QSIPrep leaves."""
    from tests.tiny_dataset import write_dataset, write_qsiprep

    need(Path(bids_dir).is_dir(), f'{bids_dir}: no such folder')
    if not Path(output_dir).exists():
        write_qsiprep(write_dataset(Path(output_dir)))


def qsirecon(input_dir: str, output_dir: str, *arguments: str) -> None:
    """See that it is given the dataset that was made for it."""
    from bidsharmony.bids import COMPAT

    need(Path(input_dir).name == COMPAT, f'{input_dir}: not the dataset for QSIRecon')


def mrtrix(*arguments: str) -> None:
    """See that the files are there that are read, and make the ones that are written."""
    files = [Path(word) for word in arguments if '.' in word]
    outputs = {Path(arguments[-1])}
    if '-fa' in arguments:
        outputs = {*files} - {Path(arguments[-1])}
    for file in files:
        if file in outputs:
            file.touch()
        need(file.is_file(), f'{file}: no such file')


PROGRAMS: dict[str, Callable[..., None]] = {
    'apptainer': apptainer,
    'bidsharmony': bidsharmony,
    'bidsharmony-docker': bidsharmony_docker,
    'bidsharmony-phantom': bidsharmony_phantom,
    'bidsharmony-train': bidsharmony_train,
    'docker': docker,
    'dwi2tensor': mrtrix,
    'make': make,
    'mrconvert': mrtrix,
    'pip': pip,
    'pre-commit': pre_commit,
    'python': python,
    'qsiprep': qsiprep,
    'qsirecon': qsirecon,
    'sbatch': sbatch,
    'tensor2metric': mrtrix,
}


def main(program: str, *arguments: str) -> int:
    """Check one call, and note it."""
    with Path(os.environ[LISTED]).open('a', encoding='utf-8') as file:
        file.write(json.dumps(shown(program, arguments)) + '\n')
    try:
        PROGRAMS[program](*arguments)
    except UnusableError as error:
        sys.stderr.write(f'{program}: {error}\n')
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
