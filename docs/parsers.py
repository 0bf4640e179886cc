"""The parsers of the commands, as the page of options shows them: each option with its value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bidsharmony.cli import docker, options, phantom, train

if TYPE_CHECKING:
    from argparse import Action, ArgumentParser


def named(action: Action) -> list[str]:
    """Spell an option with what it takes: ``--nprocs N``.

    Examples
    --------
    >>> [named(action) for action in train.build_parser()._actions if action.dest == 'anatomy']
    [['--anatomy ANATOMY']]
    """
    if action.nargs == 0 or not action.option_strings:
        return list(action.option_strings)
    value = action.metavar or action.dest.upper()
    if action.metavar is None and action.choices:
        value = '|'.join(map(str, action.choices))
    several = ' ...' if action.nargs == '+' else ''
    return [*action.option_strings[:-1], f'{action.option_strings[-1]} {value}{several}']


def plain(text: str | None) -> str | None:
    r"""Keep text from being read as markup.

    Examples
    --------
    >>> plain('a *_T2w.nii.gz')
    'a \\*\\_T2w.nii.gz'
    """
    return text and re.sub(r'([*`|_])', r'\\\1', text)


def shown(made: ArgumentParser) -> ArgumentParser:
    """Let a parser's usage stand as it is, and name its options for a reader."""
    made.usage = made.format_usage().removeprefix('usage: ').strip()
    made.description, made.epilog = plain(made.description), plain(made.epilog)
    for group in made._action_groups:
        group.title = group.title[:1].upper() + group.title[1:]
    for action in made._actions:
        action.help = plain(action.help)
        if action.option_strings:
            action.option_strings = named(action)
            # they stand in the name
            action.choices = None
    return made


def bidsharmony() -> ArgumentParser:
    """Show ``bidsharmony``."""
    return shown(options.build_parser())


def bidsharmony_phantom() -> ArgumentParser:
    """Show ``bidsharmony-phantom``."""
    return shown(phantom.build_parser())


def bidsharmony_train() -> ArgumentParser:
    """Show ``bidsharmony-train``."""
    return shown(train.build_parser())


def bidsharmony_docker() -> ArgumentParser:
    """Show ``bidsharmony-docker``."""
    return shown(docker.wrapper_parser())
