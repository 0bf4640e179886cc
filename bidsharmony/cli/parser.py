"""Read the command line into Settings, and refuse at once what cannot work."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bidsharmony.bids.templates import templateflow_home
from bidsharmony.cli.checks import coarser_than_weights, why_wrong
from bidsharmony.cli.config import ConfigError, converted, read_config
from bidsharmony.cli.options import EXIT_USAGE, build_parser
from bidsharmony.cli.spaces import unusable_spaces
from bidsharmony.settings import ANALYSIS_LEVELS, Settings

DEBUG_VERBOSITY = 2
"""How often ``-v`` counts as given with ``--debug``."""


def parse_args(argv: Sequence[str] | None = None) -> Settings:
    """Read a command line into Settings.

    Raises
    ------
    SystemExit
        with code 0 after ``--help`` and ``--version``, with code 2 and one line on stderr if an
        argument is wrong, the input is no folder, or the folders overlap
    """
    parser = build_parser()
    arguments = [dashed(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    given = vars(parser.parse_args(arguments))
    if (config_file := given.pop('config_file')) is not None:
        given |= _of_config(parser, config_file.expanduser(), typed_options(arguments))

    levels = given.pop('analysis_level')
    given['analysis_levels'] = tuple(level for level in ANALYSIS_LEVELS if level in levels)
    for name in ('participant_label', 'session_id', 'run_id', 'output_spaces'):
        given[name] = tuple(dict.fromkeys(given[name]))
    for name in ('bids_dir', 'output_dir', 'work_dir', 'weights'):
        if given[name] is not None:
            given[name] = given[name].expanduser().resolve()
    names = [name for name, _ in given['derivatives']]
    if twice := {name for name in names if names.count(name) > 1}:
        parser.error(f'--derivatives {", ".join(sorted(twice))}: given twice. Give it once')
    given['derivatives'] = dict(given['derivatives'])
    read = {name: given[name] for name in ('bids_filters', 'use_plugin') if given[name]}
    given |= {name: content for name, (_, content) in read.items()}
    given['option_files'] = {name: path for name, (path, _) in read.items()}
    if given['scanner_from'] is not None:
        path, column = given['scanner_from']
        given['scanner_from'] = _found(path, given['bids_dir']), column
    if given['debug']:
        given['verbose_count'] = max(given['verbose_count'], DEBUG_VERBOSITY)
    settings = Settings(**given, templateflow_home=templateflow_home())
    if reason := why_wrong(settings):
        parser.error(reason)
    if reasons := unusable_spaces(settings):
        parser.exit(EXIT_USAGE, ''.join(f'ERROR {reason}.\n' for reason in reasons))
    try:
        coarser = coarser_than_weights(settings.canonical_resolution, settings.weights)
    except ValueError as error:
        parser.error(str(error))
    return replace(settings, canonical_resolution=coarser)


def typed_options(arguments: Sequence[str]) -> set[str]:
    """Tell which options a command line names, whatever their values.

    Examples
    --------
    >>> sorted(typed_options(['in', 'out', 'group', '--rician', '-d', 'qsiprep=pre']))
    ['analysis_level', 'bids_dir', 'derivatives', 'output_dir', 'rician']
    """
    parser = build_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
        # files were read once already
        action.type = None
    return set(vars(parser.parse_args(arguments)))


def _of_config(
    parser: argparse.ArgumentParser, path: Path, typed: Collection[str]
) -> dict[str, Any]:
    """Read the options of a file that were not typed."""
    actions = {action.dest: action for action in parser._actions}
    try:
        return {
            name: converted(path, actions[name], value)
            for name, value in read_config(path, parser._actions).items()
            if name not in typed
        }
    except ConfigError as error:
        parser.error(str(error))


def dashed(argument: str) -> str:
    """Spell an option's name with dashes and leave its value alone.

    Examples
    --------
    >>> dashed('--participant_label=a_b')
    '--participant-label=a_b'
    """
    return re.sub(r'^--[^=]+', lambda name: name.group().replace('_', '-'), argument)


def _found(path: Path, bids_dir: Path) -> Path:
    """Look for a file in the working directory, then in the dataset."""
    here = path.resolve()
    return here if here.is_file() else (bids_dir / path).resolve()
