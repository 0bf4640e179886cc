"""The page of options is made from the parsers, and no page speaks of one that is not there."""

from __future__ import annotations

import argparse
import configparser
import doctest
import importlib.util
import re
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.docs.commands import PAGES, ROOT
from tests.docs.stand_in import parser_of

FOREIGN = {
    '--cleanenv': 'apptainer',
    '--containall': 'apptainer',
    '--mem': 'sbatch',
    '--recursive': 'bids-validator-deno',
    '--time': 'sbatch',
    '--tmpfs': 'docker',
}
"""Options of other programs that pages speak of."""

SCRIPTS = (*sorted((ROOT / 'benchmarks').glob('*.py')), ROOT / 'tests' / 'reproduce.py')


def parsers_module() -> ModuleType:
    """Load what makes the page's parsers."""
    path = ROOT / 'docs' / 'parsers.py'
    spec = importlib.util.spec_from_file_location('docs_parsers', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page_parsers() -> dict[str, Callable[[], argparse.ArgumentParser]]:
    """Give the page's parsers, by command."""
    module = parsers_module()
    return {name: getattr(module, name.replace('-', '_')) for name in commands()}


def commands() -> list[str]:
    """List the commands that are installed."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg', encoding='utf-8')
    lines = setup['options.entry_points']['console_scripts'].strip().splitlines()
    return [line.partition('=')[0].strip() for line in lines]


def page() -> str:
    """Read the page of options."""
    return (ROOT / 'docs' / 'options.rst').read_text(encoding='utf-8')


def test_examples_of_the_parsers_hold():
    """Nothing else collects them there."""
    result = doctest.testmod(parsers_module())
    assert result.attempted
    assert not result.failed


def test_every_command_has_its_part():
    """In the words of the parser that it really uses."""
    functions = re.findall(
        r'^\.\. argparse::\n   :filename: parsers.py\n   :func: (\w+)', page(), re.M
    )
    assert sorted(functions) == sorted(name.replace('-', '_') for name in commands())


@pytest.mark.parametrize('command', commands())
def test_every_option_says_what_it_does(command):
    """An option without a word would be an empty line of the page."""
    for action in page_parsers()[command]()._actions:
        assert action.help, f'{command} {action.option_strings or action.dest}'


def test_every_explanation_has_its_option():
    """One whose option is spelled otherwise would silently be left out."""
    parts = re.split(r'^\.\. argparse::', page(), flags=re.M)[1:]
    for command, make in page_parsers().items():
        (part,) = (part for part in parts if f':func: {command.replace("-", "_")}\n' in part)
        shown = {' '.join(action.option_strings) or action.dest for action in make()._actions}
        explained = re.findall(r'^   (\S.*) : @(?:after|before|replace)$', part, re.M)
        assert set(explained) <= shown, command
        # anything else at this depth would be lost, or stand in a wrong place
        others = re.findall(r'^   (?!:)(\S.*)$', part, re.M)
        assert len(others) == len(explained), command


def test_options_on_other_pages_exist():
    """What a sentence calls an option is one: of ours, of a script, or of a program named here."""
    known = {
        name
        for make in page_parsers().values()
        for action in make()._actions
        for name in ' '.join(action.option_strings).split()
    }
    for script in SCRIPTS:
        known |= {name for action in parser_of(script)._actions for name in action.option_strings}
    spoken = {
        (path.name, option)
        for path in PAGES
        for option in re.findall(r'(?<!`)`{1,2}(--?[a-z][\w-]*)', path.read_text(encoding='utf-8'))
    }
    # -vv counts
    spoken = {(name, option) for name, option in spoken if not re.fullmatch('-v+', option)}
    unknown = {(name, option) for name, option in spoken if option not in known | set(FOREIGN)}
    assert not unknown
    assert set(FOREIGN) <= {option for _, option in spoken}, 'no page speaks of it any more'
