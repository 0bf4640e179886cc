"""List the images of a participant, and hold each name against the folders it lies in."""

from __future__ import annotations

import re
from pathlib import Path

from bidsharmony.bids.names import LABEL, NIFTI, Name, parse_name
from bidsharmony.bids.records import BIDSError, relative_path

NOT_INDEXED = re.compile(r'^/(?!(dwi|ses-[^/]+|ses-[^/]+/dwi)(/[^/]*)?$)|[^\x20-\x7e]')
"""Paths inside a participant's folder that pybids need not see: those that cannot hold a run
(a link to a parent folder would be followed round and round), and names that its database
cannot hold."""

FILES_ONLY = {
    'name': 'files',
    'entities': [{'name': 'extension', 'pattern': r'[^./\\](\.[^/\\]+)$'}],
}
"""What pybids reads off a path. Its own 28 entities cost it a tenth of a second for each
participant, and it reads them off the whole path: below a folder ``sub-9/anat`` every file is an
anatomy of participant 9. Names are parsed by ``names.parse_name``."""


def list_images(folder: Path) -> list[Path]:
    """List a participant's images: those pybids knows, then those it leaves out unsaid."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    layout = BIDSLayout(
        folder,
        validate=False,
        config=FILES_ONLY,
        indexer=BIDSLayoutIndexer(
            validate=False,
            index_metadata=False,
            ignore=[NOT_INDEXED],
            # a file of this name inside the dataset could re-define the entities
            config_filename='no_layout_config',
        ),
    )
    known = {Path(path) for path in layout.get(extension=list(NIFTI), return_type='filename')}
    # else each participant's database stays in memory to the end
    layout.session.close()
    layout.connection_manager.engine.dispose()
    nearby = {
        path
        for pattern in ('dwi/*', 'ses-*/dwi/*')
        for path in folder.glob(pattern)
        if path.name.lower().endswith(NIFTI)
    }
    return sorted(path for path in known | nearby if path.parent.name == 'dwi')


def check_name(image: Path) -> Name:
    """Parse an image's name and hold it against the folders it lies in.

    Raises
    ------
    BIDSError
        with cause and remedy
    """
    folders = Path(relative_path(image)).parts[:-1]
    for folder in folders[:-1]:
        label = folder.partition('-')[2]
        if not LABEL.fullmatch(label):
            raise BIDSError(
                f'the folder {folder!r} has a label with other than letters and digits. Rename it'
            )
    if image.name.lower().endswith(NIFTI) and not image.name.endswith(NIFTI):
        raise BIDSError('its extension is in capitals. Rename it to .nii or .nii.gz')
    name = parse_name(image.name)
    if name.extension not in NIFTI:
        raise BIDSError(f'{name.extension!r} is no image extension. Rename it to .nii.gz')
    expected = [f'sub-{name.entities.get("subject", "")}']
    if 'session' in name.entities:
        expected.append(f'ses-{name.entities["session"]}')
    if [*expected, 'dwi'] != list(folders):
        raise BIDSError(
            f'its name belongs in {"/".join(expected)}/dwi, not in {"/".join(folders)}. '
            'Rename or move it'
        )
    return name
