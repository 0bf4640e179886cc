"""Write a dataset in which everything that is private holds a word of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np

from tests import tiny_dataset

SIDECAR = (
    *('PatientName', 'PatientID', 'PatientBirthDate', 'AccessionNumber', 'StudyInstanceUID'),
    *('DeviceSerialNumber', 'StationName', 'InstitutionName', 'InstitutionAddress'),
    *('InstitutionalDepartmentName', 'AcquisitionDateTime', 'SeriesDescription'),
    *('ReferringPhysicianName', 'OperatorsName', 'ImageComments', 'ProtocolName'),
)
DESCRIPTION = (
    *('Name', 'Authors', 'Acknowledgements', 'HowToAcknowledge', 'Funding', 'EthicsApprovals'),
    *('ReferencesAndLinks', 'DatasetDOI'),
)
HEADER = {'descrip': 80, 'aux_file': 24, 'db_name': 18, 'intent_name': 16}
EXTENSIONS = {'dicom': 2, 'afni': 4, 'comment': 6}
COLUMNS = ('full_name', 'born', 'remark')
TABLES = ('scans.tsv', 'README')
NAMES = ('refused name', 'skipped name', 'hidden name')
PLACES = ('above', 'work', 'home', 'temporary', 'user', 'host', 'weights')


START = 'Zq7VxK'
"""How every word begins: what does not hold this holds none of them."""


def word(what: str) -> str:
    """Give the word that is planted in a place: letters and digits, and in no other place.

    Examples
    --------
    >>> word('db_name')
    'Zq7VxK90DbNam'
    """
    letters = ''.join(char for char in what.title() if char.isalnum())
    return f'{START}{sum(what.encode()) % 90 + 10}{letters[:5]}'


def words() -> dict[str, str]:
    """Give every word that is planted, by its place."""
    places = (
        *SIDECAR, *DESCRIPTION, *HEADER, *EXTENSIONS, *COLUMNS, *TABLES, *NAMES, *PLACES,
        'SourceDatasets', 'DatasetLinks', 'inherited', 'of the mask', 'of the column',
    )  # fmt: skip
    found = {place: word(place) for place in places}
    assert len(set(found.values())) == len(found), sorted(found.values())
    return found


def plant(raw: Path) -> None:
    """Write three participants; ``sub-02`` has a lesion mask, and files of other names."""
    tiny_dataset.write_dataset(raw)
    described = {key: [word(key)] for key in DESCRIPTION} | {
        'BIDSVersion': '1.10.0',
        'DatasetType': 'raw',
        **{key: word(key) for key in ('Name', 'Acknowledgements', 'HowToAcknowledge')},
        'DatasetDOI': f'of {word("DatasetDOI")}',
        'SourceDatasets': [{'URL': f'file:///data/{word("SourceDatasets")}'}],
        'DatasetLinks': {'source': f'file:///data/{word("DatasetLinks")}'},
    }
    (raw / 'dataset_description.json').write_text(json.dumps(described))
    (raw / 'README').write_text(word('README'))
    (raw / 'dwi.json').write_text(json.dumps({'PatientComments': word('inherited')}))
    labels = ('01', '02', '03')
    for seed, label in enumerate(labels):
        image = tiny_dataset.write_run(raw, f'sub-{label}', seed=seed)
        _spoil_header(image)
        sidecar = tiny_dataset.SIDECAR | {key: word(key) for key in SIDECAR}
        # a place in a key that is passed on
        sidecar['SequenceVariant'] = ['SK', f'/data/{word("SourceDatasets")}']
        image.with_name(f'sub-{label}_dwi.json').write_text(json.dumps(sidecar))
        scans = f'filename\tacq_time\ndwi/{image.name}\t{word("scans.tsv")}\n'
        (image.parents[1] / f'sub-{label}_scans.tsv').write_text(scans)
    for name, file in zip(NAMES, ('{}_dwi.nii.gz', '{}.nii', '._{}.nii.gz'), strict=True):
        shutil.copyfile(image, raw / 'sub-02' / 'dwi' / file.format(word(name)))
    rows = ['\t'.join(('participant_id', 'age', *COLUMNS))]
    rows += [
        '\t'.join((f'sub-{label}', str(30 + ix), *(word(column) for column in COLUMNS)))
        for ix, label in enumerate(labels)
    ]
    (raw / 'participants.tsv').write_text('\n'.join(rows) + '\n')
    columns = {'born': {'Description': word('of the column'), 'LongName': word('of the column')}}
    (raw / 'participants.json').write_text(json.dumps(columns))
    _write_mask(raw)


def _spoil_header(image: Path) -> None:
    """Write words into the texts of a header, and behind it."""
    content = nb.load(image)
    spoiled = nb.Nifti1Image(np.asarray(content.dataobj), None, content.header)
    for key in HEADER:
        spoiled.header[key] = word(key).encode()
    for key, code in EXTENSIONS.items():
        extension = nb.nifti1.Nifti1Extension(code, word(key).encode())
        spoiled.header.extensions.append(extension)
    nb.save(spoiled, image)


def _write_mask(raw: Path) -> None:
    """Write a lesion mask that tells who drew it."""
    folder = raw / 'derivatives' / 'lesions' / 'sub-02' / 'dwi'
    folder.mkdir(parents=True)
    mask = np.zeros(tiny_dataset.SHAPE, np.uint8)
    mask[10:13, 10:13, 5:7] = 1
    image = nb.Nifti1Image(mask, tiny_dataset.affine())
    image.header['descrip'] = word('of the mask').encode()
    nb.save(image, folder / 'sub-02_label-lesion_mask.nii.gz')
    told = {'Author': word('of the mask'), 'Sources': [f'/data/{word("of the mask")}']}
    (folder / 'sub-02_label-lesion_mask.json').write_text(json.dumps(told))
