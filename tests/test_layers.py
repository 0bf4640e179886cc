"""The house has seven floors: imports go down, never up and never across."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'bidsharmony'
FILES = sorted(PACKAGE.rglob('*.py'))

# A room is a folder or a top-level module of the package. `data` holds files and `__init__`
# holds the version, so both lie under every floor.
FLOORS = {
    'cli': 7,
    'supervise': 6,
    'workflows': 5,
    'interfaces': 4,
    'api': 4,
    'audit': 4,
    'network': 3,
    'physics': 2,
    'evaluation': 2,
    'reports': 2,
    'bids': 2,
    'numerics': 1,
    'viz': 1,
    'settings': 1,
    'data': 0,
    '__init__': 0,
}
# (importing module, room): the one step across a floor, and the package's door to its API, which
# imports it when it is asked for
ACROSS = {('physics.phantom', 'bids'), ('__init__', 'api')}
# room: who may see it, where the floors alone would allow more
SEEN_BY = {'settings': {'cli', 'supervise', 'bids'}}
# (room, room): the one module through which the first sees the second
DOORS = {('network', 'physics'): 'network.training'}
# third-party library: the rooms that may import it
LIBRARIES = {
    'ants': {'numerics'},
    'bids': {'bids'},
    'jinja2': {'reports'},
    'matplotlib': {'viz'},
    'nipype': {'interfaces', 'workflows', 'supervise'},
    'niworkflows': {'interfaces', 'workflows'},
    'torch': {'audit', 'cli', 'interfaces', 'network'},
}
# what `--help` and the file-finding modules do without
HEAVY = {
    'ants',
    'bids',
    'dipy',
    'matplotlib',
    'nipype',
    'niworkflows',
    'pandas',
    'scipy',
    'torch',
}
LIGHT = ['bidsharmony', 'bidsharmony.cli.parser', 'bidsharmony.settings', 'bidsharmony.bids']


def dotted(path: Path) -> str:
    """Return a file's name inside the package: ``cli/parser.py`` gives ``cli.parser``.

    Examples
    --------
    >>> dotted(PACKAGE / 'cli' / 'parser.py'), dotted(PACKAGE / 'cli' / '__init__.py')
    ('cli.parser', 'cli')
    """
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if len(parts) > 1 and parts[-1] == '__init__' else parts)


def imported(path: Path) -> set[str]:
    """Return the absolute dotted names that a file imports, at any depth of its code."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    package = ('bidsharmony', *path.relative_to(PACKAGE).parent.parts)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = '.'.join([*base, *([node.module] if node.module else [])])
            # `from package import module` names a module, `from module import thing` does not:
            # both spellings are kept, the room is the same.
            names.update(f'{stem}.{alias.name}' for alias in node.names)
    return names


def rooms_seen(path: Path) -> set[str]:
    """Return the rooms that a file imports from."""
    own = {name.split('.')[1] for name in imported(path) if name.startswith('bidsharmony.')}
    return {room if room in FLOORS else '__init__' for room in own}


def test_every_room_has_a_floor():
    """A new room must be given its place before it can be used."""
    assert {dotted(path).split('.')[0] for path in FILES} <= set(FLOORS)


@pytest.mark.parametrize('path', FILES, ids=dotted)
def test_imports_point_down(path):
    """A file uses its own room and the floors below, but for the steps named above."""
    module = dotted(path)
    room = module.split('.')[0]
    for seen in rooms_seen(path) - {room}:
        below = FLOORS[seen] < FLOORS[room]
        assert below or (module, seen) in ACROSS, f'{module} imports {seen}'
        assert room in SEEN_BY.get(seen, {room}), f'{module} imports {seen}'
        assert DOORS.get((room, seen), module) == module, f'{module} imports {seen}'


@pytest.mark.parametrize('path', FILES, ids=dotted)
def test_libraries_stay_in_their_rooms(path):
    """Nipype meets files in interfaces, figures are drawn in viz, networks run in network."""
    room = dotted(path).split('.')[0]
    for library in {name.split('.')[0] for name in imported(path)} & set(LIBRARIES):
        assert room in LIBRARIES[library], f'{dotted(path)} imports {library}'


@pytest.mark.parametrize('path', FILES, ids=dotted)
def test_only_cli_exits(path):
    """Everything else raises, so that the command decides the exit code."""
    exits = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in ('sys.exit', 'os._exit'))
        or (isinstance(node, ast.Name) and node.id in ('SystemExit', 'exit', 'quit'))
    ]
    # a fork must not go on as its parent does
    allowed = dotted(path).split('.')[0] == 'cli' or dotted(path) == 'supervise.aside'
    assert not exits or allowed, f'{dotted(path)}: lines {exits}'


@pytest.mark.parametrize('path', FILES, ids=dotted)
def test_no_print(path):
    """Messages go through a logger; the command's own words through its stream."""
    printed = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
        if isinstance(node, ast.Name) and node.id == 'print'
    ]
    assert not printed, f'{dotted(path)}: lines {printed}'


@pytest.mark.parametrize('module', LIGHT)
def test_light_modules_import_nothing_heavy(module):
    """``--help`` answers at once: the heavy libraries wait until there is work."""
    code = f'import sys, {module}; sys.stdout.write(" ".join(sys.modules))'
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(run.stdout.split())


def test_no_room_is_too_large():
    """No room holds more than a sixth of the house, once that is 6,000 lines."""
    lines = Counter()
    for path in FILES:
        lines[dotted(path).split('.')[0]] += len(path.read_text(encoding='utf-8').splitlines())
    limit = max(sum(lines.values()), 6000) / 6
    assert not {room: count for room, count in lines.items() if count > limit}
