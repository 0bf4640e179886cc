"""The repository keeps its own promises: files, commands, dependencies, versions and words."""

import ast
import configparser
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bidsharmony

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = [
    '.ci/run',
    '.circleci/config.yml',
    '.dockerignore',
    '.pre-commit-config.yaml',
    'CHANGES.rst',
    'CITATION.cff',
    'CONTRIBUTING.rst',
    'Dockerfile',
    'LICENSE',
    'MANIFEST.in',
    'Makefile',
    'README.md',
    'Singularity.def',
    'benchmarks',
    'bidsharmony',
    'docs/conf.py',
    'docs/index.rst',
    'pyproject.toml',
    'setup.cfg',
    'tests',
]
# Where the name that is imported is not the name that is installed.
DISTRIBUTIONS = {
    'PIL': 'pillow',
    'ants': 'antspyx',
    'bids': 'pybids',
    'skimage': 'scikit-image',
    'sklearn': 'scikit-learn',
    'yaml': 'pyyaml',
}
# Said in pieces, so that this file does not say them itself.
UNFINISHED = ['TO' + 'DO', 'FIX' + 'ME', 'NotImplemented' + 'Error']
PLACES = [r'(?<![\w.$/-])/work/', r'(?<![\w.$/-])/tmp/\w', r'/root/', r'/home/\w']
REGISTRIES = ['pypi' + '.org', 'python' + 'hosted.org', 'anaconda' + '.org', 'npmjs' + '.org']
# The only hosts that text of ours may name: PyTorch's index, identifiers, namespaces, licences,
# and the name that is reserved for examples.
HOSTS = {
    'doi.org',
    'download.pytorch.org',
    'example.org',
    'bids.neuroimaging.io',
    'bids-specification.readthedocs.io',
    'creativecommons.org',
    'json-schema.org',
    'www.apache.org',
    'www.w3.org',
}


@pytest.fixture(scope='module')
def setup() -> configparser.ConfigParser:
    """Return the parsed setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg', encoding='utf-8')
    return parser


@pytest.fixture(scope='module')
def texts() -> dict[str, str]:
    """Return the text of every file under version control, by relative path."""
    git = shutil.which('git')
    run = git and subprocess.run([git, 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True)
    if not run or run.returncode:
        pytest.skip('not a git checkout: the files of the repository cannot be listed')
    found = {}
    for name in filter(None, run.stdout.split('\0')):
        try:
            found[name] = (ROOT / name).read_text(encoding='utf-8')
        except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
            continue  # weights and pictures, or a file just being moved
    return found


def occurrences(texts: dict[str, str], pattern: str) -> list[str]:
    """Return ``file:line`` for every match of a regular expression."""
    return [
        f'{name}:{number}'
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]


def requirements(block: str) -> dict[str, str]:
    """Return the version specifier of each requirement in a block of setup.cfg.

    Examples
    --------
    >>> requirements('nipype >= 1.11, < 1.12')
    {'nipype': '>= 1.11, < 1.12'}
    """
    lines = (line.strip() for line in block.splitlines())
    pairs = (re.match(r'([\w.-]+)\s*(.*)', line) for line in lines if line and line[0] != '#')
    return {pair[1].lower(): pair[2] for pair in pairs if pair}


@pytest.mark.parametrize('name', TOP_LEVEL)
def test_top_level(name):
    """The files that people look for first are there."""
    assert (ROOT / name).exists()


def test_ci_is_executable():
    """`.ci/run` can be called as it is."""
    assert os.access(ROOT / '.ci' / 'run', os.X_OK)


@pytest.mark.parametrize('command', ['bidsharmony', 'bidsharmony-phantom', 'bidsharmony-train'])
def test_console_scripts_resolve(setup, command):
    """Each command names a function that exists."""
    scripts = setup['options.entry_points']['console_scripts'].strip().splitlines()
    targets = dict(re.split(r'\s*=\s*', line) for line in scripts)
    module, function = targets[command].split(':')
    assert callable(getattr(importlib.import_module(module), function))


def test_dependencies_are_what_is_imported(setup):
    """Nothing is imported that is not declared, and nothing declared that is not imported."""
    names = set()
    for path in (ROOT / 'bidsharmony').rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split('.')[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.split('.')[0])
    third_party = names - set(sys.stdlib_module_names) - {'bidsharmony'}
    imported = {DISTRIBUTIONS.get(name, name) for name in third_party}
    assert imported == set(requirements(setup['options']['install_requires']))


def test_every_dependency_has_a_lower_bound(setup):
    """Each requirement says from which version on it is known to work."""
    extras = setup['options.extras_require'].values()
    for block in [setup['options']['install_requires'], *extras]:
        bare = [name for name, spec in requirements(block).items() if '>=' not in spec]
        assert not bare


def test_versions_agree():
    """CHANGES and CITATION speak of the version that is installed."""
    changes = re.search(r'^(\d+\.\d+\.\d+\S*)$', (ROOT / 'CHANGES.rst').read_text(), re.MULTILINE)
    citation = re.search(r'^version: (\S+)$', (ROOT / 'CITATION.cff').read_text(), re.MULTILINE)
    assert changes[1] == citation[1] == bidsharmony.__version__


@pytest.mark.parametrize('recipe', ['Dockerfile', 'Singularity.def'])
def test_containers_name_their_version(recipe):
    """What a container writes says which one it was."""
    tags = re.findall(r'BIDSHARMONY_CONTAINER_TAG=(\S+)', (ROOT / recipe).read_text())
    assert tags == [f'bidsharmony:{bidsharmony.__version__}']


def test_torch_versions_agree():
    """The Makefile and both container recipes install the same torch."""
    found = {
        name: re.search(pattern, (ROOT / name).read_text(encoding='utf-8'))[1]
        for name, pattern in {
            'Makefile': r'TORCH \?= (\S+)',
            'Dockerfile': r'ARG TORCH=(\S+)',
            'Singularity.def': r'torch==(\S+)',
        }.items()
    }
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize('word', UNFINISHED)
def test_nothing_is_left_unfinished(texts, word):
    """What is in the repository works."""
    assert not occurrences(texts, rf'\b{word}\b')


@pytest.mark.parametrize('pattern', PLACES)
def test_no_path_of_one_machine(texts, pattern):
    """Nothing depends on the folders of whoever wrote it."""
    texts = {name: text for name, text in texts.items() if name != 'tests/test_house.py'}
    assert not occurrences(texts, pattern)


@pytest.mark.parametrize('host', REGISTRIES)
def test_no_package_registry_is_named(texts, host):
    """Packages come from wherever the reader's pip is set to look."""
    assert not occurrences(texts, re.escape(host))


def test_only_known_hosts_are_named(texts):
    """A page or a recipe sends nobody anywhere unexpected."""
    named = {
        (name, host.lower())
        for name, text in texts.items()
        for host in re.findall(r'https?://([\w.-]+)', text.replace('[.]', '.'))
    }
    assert not {(name, host) for name, host in named if host not in HOSTS}
