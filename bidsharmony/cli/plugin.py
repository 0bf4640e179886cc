"""Read the file that says how the steps of a participant are run."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import Any

from bidsharmony.settings import Settings

PLUGINS = ('Linear', 'SLURM')
"""Those that every promise was tested with."""

HANG = ('MultiProc', 'LegacyMultiProc')
LEAVE = ('SLURMGraph', 'SGEGraph', 'PBSGraph', 'CondorDAGMan')
OTHERS = ('Condor', 'Debug', 'IPython', 'LSF', 'OAR', 'PBS', 'SGE', 'SomaFlow')

TEXTS = ('template', 'sbatch_args', 'jobid_re')
NUMBERS = {'max_jobs': 1, 'max_tries': 0, 'retry_timeout': 0}
"""Arguments of the SLURM plugin, and the smallest value of those that are numbers."""

MAX_BYTES = 100_000

OF_ONE_NODE = ('/tmp', '/var/tmp', '/dev/shm', '/run')
"""Folders that no cluster shares."""


def read_plugin(text: str) -> tuple[str, dict[str, Any]] | None:
    """Read a plugin file as nipype's apps take it, and refuse what would not do what it says.

    Returns
    -------
    (str, dict) or None
        plugin and its arguments; None if it is the one that is used anyway

    Raises
    ------
    argparse.ArgumentTypeError
        one line with the file, what is wrong and what to write instead
    """
    path = Path(text).expanduser()
    content = _content(path)
    name, arguments = content['plugin'], content.get('plugin_args') or {}
    if reason := _why_not(name):
        raise argparse.ArgumentTypeError(f'{path.name} has plugin {name!r}: {reason}')
    if not isinstance(arguments, dict):
        raise argparse.ArgumentTypeError(f'{path.name} has plugin_args that are no mapping')
    if reason := _why_wrong(name, arguments):
        raise argparse.ArgumentTypeError(f'{path.name} has {reason}')
    return None if name == 'Linear' else (name, arguments)


def why_no_cluster() -> str:
    """Say why no job can be submitted from here; '' if it can."""
    from bidsharmony.supervise.cluster import missing_commands

    if missing := missing_commands():
        return (
            f'--use-plugin: {", ".join(missing)} not found. Run it outside of containers on a '
            'node that takes jobs, or use array jobs'
        )
    return ''


def unshared_folders(settings: Settings) -> dict[str, Path]:
    """Find the folders that jobs work in, and that other nodes do not see as a rule."""
    folders = {
        'BIDS_DIR': settings.bids_dir,
        'OUTPUT_DIR': settings.output_dir,
        '--work-dir': settings.work_dir,
    }
    return {
        name: folder
        for name, folder in folders.items()
        if folder is not None and any(folder.is_relative_to(place) for place in OF_ONE_NODE)
    }


def _content(path: Path) -> dict[str, Any]:
    """Read the file itself."""
    # most calls have no such file
    import yaml

    try:
        with path.open('rb') as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{path}: {error.strerror}; give a YAML file') from None
    if len(raw) > MAX_BYTES:
        raise argparse.ArgumentTypeError(f'{path.name} is too large for a plugin file')
    try:
        content = yaml.safe_load(raw)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        mark = getattr(error, 'problem_mark', None)
        place = f' (line {mark.line + 1})' if mark else ''
        raise argparse.ArgumentTypeError(f'{path.name} is not YAML{place}') from None
    if not isinstance(content, dict) or 'plugin' not in content:
        raise argparse.ArgumentTypeError(
            f'{path.name} names no plugin; write "plugin: SLURM", and plugin_args below it'
        )
    if unknown := [str(key) for key in content if key not in ('plugin', 'plugin_args')]:
        raise argparse.ArgumentTypeError(
            f'{path.name} has {", ".join(unknown)}; choose from plugin, plugin_args'
        )
    return content


def _why_not(name: object) -> str:
    """Say why a plugin is not used; '' if it is."""
    if name in PLUGINS:
        return ''
    if name in HANG:
        return (
            'it waits for ever when a worker is killed, as for want of memory. '
            'Use --nprocs instead'
        )
    if name in LEAVE:
        return 'it submits jobs and does not wait for them. Use SLURM instead'
    if name in OTHERS:
        return (
            'it was not tried with what is promised of failures and signals. '
            'Use array jobs, one participant each, instead'
        )
    return f'no such plugin; choose from {", ".join(PLUGINS)}'


def _why_wrong(name: str, arguments: dict[str, Any]) -> str:
    """Say which argument is not one of the plugin's, or cannot be used; '' if none."""
    known = (*TEXTS, *NUMBERS) if name == 'SLURM' else ()
    if unknown := [str(key) for key in arguments if key not in known]:
        choices = f'choose from {", ".join(known)}' if known else f'{name} takes none'
        return f'plugin_args {", ".join(unknown)}; {choices}'
    for key, low in NUMBERS.items():
        value = arguments.get(key, low)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            return f'{key} {value!r}; give a whole number from {low} on'
    for key in TEXTS:
        value = arguments.get(key, '')
        if not isinstance(value, str):
            return f'{key} {value!r}; give a text'
    return _why_unusable(arguments)


def _why_unusable(arguments: dict[str, Any]) -> str:
    """Say which text would fail at the first job only; '' if none."""
    template = arguments.get('template', '#!')
    if not template.startswith('#!') and not Path(template).is_file():
        return f'template {template!r}, which is no file; give one, or a text that begins with #!'
    try:
        shlex.split(arguments.get('sbatch_args', ''))
    except ValueError:
        return f'sbatch_args {arguments["sbatch_args"]!r}; close the quotation'
    try:
        groups = re.compile(arguments.get('jobid_re', '()')).groups
    except re.error:
        groups = 0
    if not groups:
        return (
            f'jobid_re {arguments["jobid_re"]!r}; give a regular expression with the number in ()'
        )
    return ''
