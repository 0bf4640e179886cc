"""Read options from a TOML file, and write those of a call into one that can be read again."""

from __future__ import annotations

import argparse
import json
import shlex
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bidsharmony.settings import Settings

MAX_BYTES = 1_000_000
"""More is no list of options."""

OF_THE_COMMAND_LINE = ('config_file', 'help', 'version')
"""Options that make no sense in a file."""


class ConfigError(ValueError):
    """Say in one line what is wrong with a file of options: file, key, cause and remedy."""


def read_config(path: Path, actions: Sequence[argparse.Action]) -> dict[str, Any]:
    """Read a file of options, whose keys are long names of options, with ``-`` or ``_``.

    Parameters
    ----------
    path : Path
    actions : sequence of argparse.Action
        those of the command's parser

    Returns
    -------
    dict
        field of `Settings` to what the file holds: a boolean (a number for what is counted), a
        list, a text or a number

    Raises
    ------
    ConfigError
    """
    named = {
        name.removeprefix('--'): action
        for action in actions
        for name in action.option_strings
        if name.startswith('--') and action.dest not in OF_THE_COMMAND_LINE
    }
    found: dict[str, Any] = {}
    for key, value in _content(path).items():
        action = named.get(key.replace('_', '-'))
        if action is None:
            raise ConfigError(f'{path.name}: {key!r} is no option. Choose from {", ".join(named)}')
        if action.dest in found:
            raise ConfigError(f'{path.name}: {key}: the same option is there twice. Leave one out')
        if wanted := _why_unfit(action, value):
            raise ConfigError(f'{path.name}: {key} = {_shown(value)}. Give {wanted}')
        found[action.dest] = value
    return found


def converted(path: Path, action: argparse.Action, value: Any) -> Any:
    """Turn what a file holds into what the command line would have given.

    Raises
    ------
    ConfigError
        if the option does not take this value
    """
    name = long_name(action)
    if isinstance(value, list):
        return [_convert_one(path, action, item) for item in value]
    if action.nargs == 0:
        if isinstance(action, argparse._CountAction):
            return int(value)
        return action.const if value else action.default
    if action.choices is not None and value not in action.choices:
        choices = ', '.join(action.choices)
        raise ConfigError(f'{path.name}: {name} = {_shown(value)}. Choose from {choices}')
    return _convert_one(path, action, value)


def long_name(action: argparse.Action) -> str:
    """Give an option's first long name, without dashes in front; '' for what has none."""
    names = (name for name in action.option_strings if name.startswith('--'))
    return next(names, '').removeprefix('--')


def config_text(settings: Settings, actions: Sequence[argparse.Action]) -> str:
    """Write options so that `read_config` gives the same Settings.

    Options that are not set and have no default, such as ``--mem-mb``, are left out: TOML has no
    word for nothing.

    Parameters
    ----------
    settings : Settings
    actions : sequence of argparse.Action
        those of the command's parser
    """
    call = ['bidsharmony', settings.bids_dir, settings.output_dir, *settings.analysis_levels]
    # a name may hold a line break, which would end the comment
    shown = json.dumps(shlex.join(map(str, call)), ensure_ascii=False)[1:-1]
    lines = [f'# {shown} --config-file THIS_FILE'.replace('\x7f', '\\u007f')]
    for action in actions:
        name = long_name(action)
        if not name or action.dest in OF_THE_COMMAND_LINE:
            continue
        value = _as_typed(settings, action)
        if value is not None:
            lines.append(f'{name} = {_toml(value)}')
    return '\n'.join(lines) + '\n'


def _as_typed(settings: Settings, action: argparse.Action) -> Any:
    """Give a setting as a file of options holds it; None for what is not set."""
    value = getattr(settings, action.dest)
    if action.dest in settings.option_files:
        return str(settings.option_files[action.dest])
    if action.nargs == 0 and isinstance(value, bool):
        return value == action.const
    if action.dest == 'derivatives':
        return [f'{name}={path}' for name, path in value.items()]
    if action.dest == 'scanner_from' and value is not None:
        path, column = value
        return f'{path}:{column}'
    if isinstance(value, Path):
        return str(value)
    # what was read from a file and holds nothing
    return None if isinstance(value, Mapping) else value


def _toml(value: Any) -> str:
    r"""Write a value in TOML: four kinds of values need no library, which would be one more.

    Examples
    --------
    >>> _toml([True, 2, 0.5, 'a "b"\n'])
    '[true, 2, 0.5, "a \\"b\\"\\n"]'
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # a basic string of TOML is one of JSON, but for this character
        return json.dumps(value, ensure_ascii=False).replace('\x7f', '\\u007f')
    if isinstance(value, (list, tuple)):
        return f'[{", ".join(map(_toml, value))}]'
    return repr(value)


def _content(path: Path) -> dict[str, Any]:
    try:
        with path.open('rb') as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f'{path}: {error.strerror}. Give a TOML file of options') from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f'{path.name}: too large for a file of options. Give a TOML file')
    try:
        return tomllib.loads(raw.decode('utf-8'))
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError(f'{path.name}: not TOML ({error}). Write NAME = VALUE lines') from None


def _why_unfit(action: argparse.Action, value: Any) -> str:
    """Say what kind of value an option takes, if this is another one; '' if it fits."""
    if isinstance(action, argparse._CountAction):
        # True is a number to Python
        fits = isinstance(value, int) and value >= 0
        return '' if fits else 'true, false or a whole number from 0 on'
    if action.nargs == 0:
        return '' if isinstance(value, bool) else 'true or false'
    if action.nargs is not None or isinstance(action, argparse._AppendAction):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return '' if fits else 'a list of texts, as ["a", "b"]'
    fits = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return '' if fits else 'one text in quotes, or one number'


def _convert_one(path: Path, action: argparse.Action, value: Any) -> Any:
    """Read one value by the option's own type; numbers stand without quotes, texts in them."""
    place = f'{path.name}: {long_name(action)}'
    try:
        result = (action.type or str)(str(value))
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f'{place}: {error}') from None
    if isinstance(value, str) and isinstance(result, (int, float)) and _is_number(value):
        raise ConfigError(f'{place} = {_shown(value)}. Give the number without quotes')
    if not isinstance(value, str) and not isinstance(result, (int, float)):
        raise ConfigError(f'{place} = {_shown(value)}. Give a text in quotes')
    return result


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    """Show a value of a file, or the beginning of a long one."""
    text = _toml(value) if isinstance(value, (bool, str, int, float)) else str(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
