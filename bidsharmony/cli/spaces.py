"""Look at the templates of ``--output-spaces`` before anything starts."""

from __future__ import annotations

import argparse

from bidsharmony.bids.records import BIDSError
from bidsharmony.bids.templates import find_template, find_templates, parse_space
from bidsharmony.settings import Settings


def output_space(text: str) -> str:
    """Read ``NAME[:cohort-N][:res-N]`` and spell it in one way.

    Examples
    --------
    >>> output_space('MNIPediatricAsym:res-02:cohort-1')
    'MNIPediatricAsym:cohort-1:res-2'
    """
    try:
        return str(parse_space(text))
    except BIDSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def unusable_spaces(settings: Settings) -> list[str]:
    """Say of each space whose template cannot be used why, and how to get it; [] if all can.

    The group level reads no template.
    """
    if not settings.dry_run and 'participant' not in settings.analysis_levels:
        return []
    found = {text: _why_unusable(text, settings) for text in settings.output_spaces}
    return [
        ' '.join(f'--output-spaces {text}: {reason}'.split()).rstrip('.')
        for text, reason in found.items()
        if reason
    ]


def _why_unusable(text: str, settings: Settings) -> str:
    """Find a template and read it to its end; what is wrong with it, or ''."""
    try:
        template = find_template(parse_space(text), settings.templateflow_home)
    except BIDSError as error:
        return str(error)
    # nibabel takes half a second to import, and who does not use the option does not wait for it
    from bidsharmony.interfaces.files import InputError
    from bidsharmony.interfaces.spaces import check_template

    try:
        check_template(template)
    except InputError as error:
        return f'{error} TEMPLATEFLOW_HOME is {settings.templateflow_home}'
    return ''


def spaces_rows(settings: Settings) -> list[tuple[str, str, str]]:
    """List each space with the files of its template that are used."""
    templates = find_templates(settings.output_spaces, settings.templateflow_home)
    return [
        (str(template.space), template.image, template.mask or 'none: whole heads are registered')
        for template in templates
    ]
