"""Find the templates that output spaces name, in what is there of TemplateFlow.

TemplateFlow's own client is not asked: it writes into its folder when it is imported, which a
read-only one does not allow, and downloads what it is asked for. Its layout is read instead:
``tpl-NAME[/cohort-N]/tpl-NAME[_cohort-N][_res-N][_desc-brain]_SUFFIX.nii.gz``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bidsharmony.bids.records import BIDSError

DATASET = 'templateflow'
"""Name of TemplateFlow in BIDS URIs."""

CONTRASTS = ('T2w', 'T1w')
"""Images of a template, the one that is most like a b=0 first."""

_SPACE = re.compile(r'[A-Za-z0-9]+')
_MODIFIER = re.compile(r'(cohort|res)-0*([1-9][0-9]{0,3})')


@dataclass(frozen=True)
class Space:
    """Name a template, and which of its cohorts and resolutions.

    Examples
    --------
    >>> space = parse_space('MNIPediatricAsym:res-02:cohort-1')
    >>> str(space), space.label
    ('MNIPediatricAsym:cohort-1:res-2', 'MNIPediatricAsym_cohort-1_res-2')
    """

    template: str
    cohort: int | None = None
    resolution: int | None = None

    @property
    def label(self) -> str:
        """Write the space as entities of a name, after ``space-``."""
        return '_'.join(self._parts())

    def __str__(self) -> str:
        """Write the space as an option holds it."""
        return ':'.join(self._parts())

    def _parts(self) -> list[str]:
        found = {'cohort': self.cohort, 'res': self.resolution}
        return [self.template, *(f'{key}-{n}' for key, n in found.items() if n is not None)]


@dataclass(frozen=True)
class Template:
    """Hold where the files of a space are; names are relative to ``home``."""

    space: Space
    home: Path
    image: str
    mask: str | None

    @property
    def files(self) -> dict[str, Path]:
        """List the files by their names."""
        return {name: self.home / name for name in (self.image, self.mask) if name}

    def uri(self, name: str) -> str:
        """Write a BIDS URI."""
        return f'bids:{DATASET}:{name}'


def parse_space(text: str) -> Space:
    """Read ``NAME[:cohort-N][:res-N]``.

    Raises
    ------
    BIDSError
        saying what is wrong with it
    """
    name, *modifiers = text.split(':')
    found = {}
    for modifier in modifiers:
        match = _MODIFIER.fullmatch(modifier)
        if match is None or match[1] in found:
            raise BIDSError(f'{text!r} is not NAME, NAME:res-N or NAME:cohort-N:res-N')
        found[match[1]] = int(match[2])
    if not _SPACE.fullmatch(name):
        raise BIDSError(f'{text!r} is not the name of a template, which has letters and digits')
    return Space(name, found.get('cohort'), found.get('res'))


def templateflow_home() -> Path:
    """Give the folder that TemplateFlow itself would use, without asking whether it is there."""
    caches = '~/Library/Caches' if sys.platform == 'darwin' else '~/.cache'
    cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser(caches)
    return Path(os.environ.get('TEMPLATEFLOW_HOME') or f'{cache}/{DATASET}').absolute()


def find_templates(texts: Iterable[str], home: Path | None) -> tuple[Template, ...]:
    """Find the templates of several spaces, each as `parse_space` reads it.

    Raises
    ------
    BIDSError
        as `find_template` does
    """
    home = home or templateflow_home()
    return tuple(find_template(parse_space(text), home) for text in texts)


def find_template(space: Space, home: Path) -> Template:
    """Find image and brain mask of a space; what is empty counts as missing.

    TemplateFlow fills its folder with empty files, or links that lead nowhere, which stand for
    what it would download.

    Raises
    ------
    BIDSError
        telling the files that are missing, and how to get them
    """
    folder = f'tpl-{space.template}'
    known = _names(home)
    if folder not in known:
        others = ', '.join(name.removeprefix('tpl-') for name in known if name[:4] == 'tpl-')
        raise BIDSError(
            f'no {folder} in TEMPLATEFLOW_HOME ({home}); there: {others or "nothing"}. '
            + _remedy(space)
        )
    cohorts = [name for name in _names(home / folder) if name.startswith('cohort-')]
    if space.cohort is not None:
        if f'cohort-{space.cohort}' not in cohorts:
            raise BIDSError(
                f'no cohort-{space.cohort} in {folder}; there: {", ".join(cohorts) or "none"}. '
                + _remedy(space)
            )
        folder += f'/cohort-{space.cohort}'
    elif cohorts:
        raise BIDSError(
            f'{folder} has cohorts. Add one of them: {space.template}:{cohorts[0]} or another of '
            f'{", ".join(cohorts)}'
        )
    return _chosen(space, home, folder)


def _chosen(space: Space, home: Path, folder: str) -> Template:
    """Choose among the files of a folder: the resolution, then the contrast."""
    cohort = '' if space.cohort is None else f'_cohort-{space.cohort}'
    pattern = re.compile(
        rf'tpl-{space.template}{cohort}(?P<res>_res-0*(?P<number>[0-9]+))?'
        rf'_(?P<what>{"|".join(CONTRASTS)}|desc-brain_mask)\.nii\.gz'
    )
    found = [match for name in _names(home / folder) if (match := pattern.fullmatch(name))]
    by_number: dict[int, dict[str, str]] = {}
    for match in found:
        # one without the entity is the template as it was made
        files = by_number.setdefault(int(match['number'] or 0), {})
        files[match['what']] = f'{folder}/{match[0]}'
    images = sorted(n for n, files in by_number.items() if set(CONTRASTS) & set(files))
    number = space.resolution or next(iter(images), 1)
    files = by_number.get(number, {})
    if number not in images:
        stem = f'{folder}/tpl-{space.template}{cohort}_res-{number:02d}'
        there = ', '.join(f'res-{n}' for n in images if n) or 'none'
        raise BIDSError(
            f'no {stem}_{CONTRASTS[0]}.nii.gz or {stem}_{CONTRASTS[1]}.nii.gz in '
            f'TEMPLATEFLOW_HOME ({home}); resolutions there: {there}. {_remedy(space, number)}'
        )
    listed = [files[contrast] for contrast in CONTRASTS if contrast in files]
    whole = [name for name in listed if _is_whole(home / name)]
    mask = files.get('desc-brain_mask')
    missing = [] if whole else [' or '.join(listed)]
    if mask is not None and not _is_whole(home / mask):
        missing.append(mask)
    if missing:
        raise BIDSError(
            f'missing or empty in TEMPLATEFLOW_HOME ({home}): {", ".join(missing)}. '
            + _remedy(space, number)
        )
    return Template(space, home, whole[0], mask)


def _names(folder: Path) -> list[str]:
    """List a folder in order; nothing where there is none, or none that can be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _is_whole(path: Path) -> bool:
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _remedy(space: Space, number: int | None = None) -> str:
    """Say how to get what is missing."""
    number = space.resolution or number
    entities = {'cohort': space.cohort, 'resolution': number}
    chosen = ''.join(f', {key}={n}' for key, n in entities.items() if n)
    calls = '; '.join(
        f"get('{space.template}'{chosen}, desc={desc}, suffix='{suffix}')"
        for desc, suffix in ((None, CONTRASTS[0]), (None, CONTRASTS[1]), ("'brain'", 'mask'))
    )
    return (
        f'Get it where a network is: python -c "from templateflow.api import get; {calls}", '
        'and set TEMPLATEFLOW_HOME to its folder, or bind it into the container'
    )
