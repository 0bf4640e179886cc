"""Write pages, or the methods, and harmonize nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from bidsharmony import __version__
from bidsharmony.bids import BIDSError, DwiRun
from bidsharmony.cli.listing import plural, printable, say
from bidsharmony.cli.logs import replace_citation
from bidsharmony.cli.options import EXIT_DONE, EXIT_SOME_FAILED
from bidsharmony.settings import Settings

LOGGER = logging.getLogger('bidsharmony')


def rewrite_pages(settings: Settings) -> int:
    """Write the pages of the participants that were asked for, or of all that are finished.

    Returns
    -------
    int
        exit code: 0, or 1 if some could not be written

    Raises
    ------
    BIDSError
        if there is none
    OSError
        if the machine is at fault
    """
    from bidsharmony.supervise.locks import LockedError
    from bidsharmony.supervise.pages import NoPageError, finished_participants, rewrite_page
    from bidsharmony.supervise.places import refuse_links

    output_dir = settings.output_dir
    refuse_links(output_dir)
    there = finished_participants(output_dir)
    wanted = [f'sub-{label}' for label in settings.participant_label] or there
    if not there or not set(wanted) & set(there):
        found = f'there are {", ".join(there)}' if there else 'no participant is finished'
        raise BIDSError(
            f'{output_dir.name}: no page to write, {found}. Run the participant level first'
        )
    failures = {}
    for participant in wanted:
        try:
            version = rewrite_page(output_dir, participant)
        except (NoPageError, LockedError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            failures[participant] = reason
            LOGGER.error('%s: %s', printable(participant), printable(reason))
            continue
        LOGGER.info('%s.html: written', participant)
        if version != __version__:
            LOGGER.warning(
                '%s: harmonized by bidsharmony %s, this is %s: the versions of other software on '
                'its page are those of today',
                participant,
                version,
                __version__,
            )
    say(f'{plural(len(wanted) - len(failures), "page")} written in {output_dir.name}\n')
    return EXIT_SOME_FAILED if failures else EXIT_DONE


def write_boilerplate(settings: Settings, runs: Iterable[DwiRun]) -> None:
    """Write, and print, the methods that the runs would be harmonized by."""
    texts = replace_citation(settings.output_dir, planned(settings, runs))
    say(texts['CITATION.md'])


def planned(settings: Settings, runs: Iterable[DwiRun]) -> list[dict[str, Any]]:
    """Say of runs what their ``qc.json`` will say of the method, as far as options tell.

    What the trace image is made of depends on gradients, which nobody has read yet.
    """
    from bidsharmony.network.weights import load_weights

    weights = load_weights(settings.weights)
    common: Mapping[str, Any] = {
        'bias': {'applied': settings.bias_correction},
        'denoising': {'mppca': settings.denoise == 'mppca', 'rician': settings.rician},
        'network': {
            'canonical_fwhm_mm': settings.canonical_resolution or weights.fwhm_mm,
            'canonical_profile_mm': weights.thickness_mm,
            # told for axial slices only, which the text says
            'spectrum_factor': {} if weights.spectrum is not None else None,
            'strength': settings.strength,
            'weights_sha256': weights.sha256,
        },
        'spaces': [{'space': str(space)} for space in settings.output_spaces],
    }
    voxel = settings.output_resolution
    # that voxels change is known, by how much noise falls is not
    series = {'noise_gain': math.nan, 'voxel_mm': [voxel] * 3} if voxel else {}
    return [
        {**common, 'series': series, 'no_series': '' if run.bvec else 'no directions'}
        for run in runs
    ]
