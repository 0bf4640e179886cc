"""Write the pages of finished participants anew, from what their markers vouch for."""

from __future__ import annotations

import errno
from pathlib import Path

from bidsharmony.reports.participant import write_participant_page
from bidsharmony.supervise.finish import QC_ENDING
from bidsharmony.supervise.locks import locked
from bidsharmony.supervise.marker import (
    file_sha256,
    intact,
    marker_path,
    read_marker,
    write_marker,
)
from bidsharmony.supervise.places import linked_folder


class NoPageError(ValueError):
    """Say why a participant's page cannot be made of what is there."""


def finished_participants(output_dir: Path) -> list[str]:
    """List the participants (``sub-01``) that have a marker."""
    return sorted(path.stem for path in marker_path(output_dir, 'x').parent.glob('sub-*.json'))


def rewrite_page(output_dir: Path, participant: str) -> str:
    """Write a participant's page from its ``qc.json`` files and figures, and mark it.

    The page names the version that harmonized the images, which is not always the one that
    writes it.

    Parameters
    ----------
    output_dir : Path
    participant : str
        with its ``sub-``

    Returns
    -------
    str
        the version that harmonized

    Raises
    ------
    NoPageError
        if no run is finished, or the files are not those that were marked
    LockedError, OSError
        if another process works on the participant, or the page cannot be written
    """
    if linked := linked_folder(output_dir, [participant]):
        raise OSError(errno.EPERM, 'a link in the output is not followed', str(linked))
    with locked(output_dir, participant):
        path = marker_path(output_dir, participant)
        marker = read_marker(path)
        if marker is None or not marker['runs']:
            raise NoPageError('no run is finished. Run the participant level first')
        shown = {
            name: sha
            for name, sha in marker['outputs'].items()
            if name.endswith((QC_ENDING, '.png'))
        }
        if not intact(output_dir, shown):
            raise NoPageError(
                'what its page shows was changed or is gone. Run the participant level again'
            )
        page = write_participant_page(
            output_dir,
            participant.removeprefix('sub-'),
            [output_dir / name for name in shown if name.endswith(QC_ENDING)],
            marker['skipped'],
            marker['version'],
            refused=marker['refused'],
            failed=marker['failed'],
        )
        # after the page: until then the marker does not fit it, and its runs would be made again
        marker['outputs'][page.name] = file_sha256(page)
        write_marker(path, marker)
    return str(marker['version'])
