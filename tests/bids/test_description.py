"""The derivatives say what made them and from what, without saying where that lies."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bidsharmony.bids import (
    COMPAT,
    BIDSError,
    bids_uri,
    write_compat_description,
    write_dataset_description,
)
from bidsharmony.bids.description import BIDSIGNORE
from tests.datasets import write_dataset

PATHS = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')])
VALIDATOR = shutil.which('bids-validator-deno', path=PATHS)
RUN = 'sub-01/dwi/sub-01_dwi.nii.gz'


def test_description(tmp_path, monkeypatch):
    """Version, container, licence, and a link that is relative."""
    monkeypatch.setenv('BIDSHARMONY_CONTAINER_TAG', 'bidsharmony:0.1')
    root = write_dataset(tmp_path / 'raw data', {RUN: ''})
    path = write_dataset_description(tmp_path / 'out', root, version='1.2')
    written = json.loads(path.read_text())
    assert written['DatasetType'] == 'derivative'
    assert written['GeneratedBy'] == [
        {
            'Name': 'bidsharmony',
            'Version': '1.2',
            'Container': {'Type': 'docker', 'Tag': 'bidsharmony:0.1'},
        }
    ]
    assert written['DatasetLinks'] == {'raw': '../raw%20data'}
    assert written['SourceDatasets'] == [{'URL': '../raw%20data'}]
    assert written['License'] == 'CC0'
    assert str(tmp_path) not in path.read_text()
    assert (tmp_path / 'out' / '.bidsignore').read_text().splitlines() == list(BIDSIGNORE)
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        '.bidsignore',
        'dataset_description.json',
    ]


def test_description_of_two_sources(tmp_path):
    """Each dataset that URIs name has its link, from either of the two folders."""
    root = write_dataset(tmp_path / 'raw', {RUN: ''})
    derivatives = {'qsiprep': write_dataset(tmp_path / 'q', {})}
    write_dataset_description(tmp_path / 'out', root, version='1', derivatives=derivatives)
    compat = write_compat_description(tmp_path / 'out', root, version='1', derivatives=derivatives)
    assert compat == tmp_path / 'out' / COMPAT / 'dataset_description.json'
    for folder, up in ((tmp_path / 'out', '../'), (compat.parent, '../../')):
        written = json.loads((folder / 'dataset_description.json').read_text())
        assert written['DatasetLinks'] == {'raw': f'{up}raw', 'qsiprep': f'{up}q'}
        assert written['SourceDatasets'] == [{'URL': f'{up}raw'}, {'URL': f'{up}q'}]


def test_written_once(tmp_path):
    """A second call with the same content leaves the file alone; a new version replaces it."""
    root = write_dataset(
        tmp_path / 'raw', {RUN: '', 'dataset_description.json': {'DatasetDOI': 'doi:10/x'}}
    )
    path = write_dataset_description(tmp_path / 'out', root, version='1')
    inode = path.stat().st_ino
    assert write_dataset_description(tmp_path / 'out', root, version='1').stat().st_ino == inode
    write_dataset_description(tmp_path / 'out', root, version='2')
    written = json.loads(path.read_text())
    assert written['GeneratedBy'][0]['Version'] == '2'
    assert written['SourceDatasets'] == [{'DOI': 'doi:10/x'}]


@pytest.mark.parametrize('version', ['1', '2'])
def test_drafts_of_processes_that_died_are_removed(tmp_path, version):
    """Whether or not there is something to write; what looks otherwise is left alone."""
    root, out = write_dataset(tmp_path / 'raw', {RUN: ''}), tmp_path / 'out'
    write_dataset_description(out, root, version='1')
    before = set(out.iterdir())
    for name in ('.dataset_description.json', '..bidsignore'):
        (out / f'{name}.{"0f" * 16}').touch()
    mine = out / '.dataset_description.json.mine'
    mine.touch()
    write_dataset_description(out, root, version=version)
    assert set(out.iterdir()) == {*before, mine}


def test_many_writers(tmp_path):
    """Whoever reads while others write reads a whole file."""
    root = write_dataset(tmp_path / 'raw', {RUN: ''})
    path = write_dataset_description(tmp_path / 'out', root, version='0')
    writers = [
        threading.Thread(
            target=write_dataset_description,
            args=(tmp_path / 'out', root),
            kwargs={'version': str(version)},
        )
        for version in range(16)
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert json.loads(path.read_text())['GeneratedBy']
    for writer in writers:
        writer.join()
    assert len(list((tmp_path / 'out').iterdir())) == 2


@pytest.mark.parametrize(
    'description',
    [{'Name': 'raw'}, {'GeneratedBy': [{'Name': 'QSIPrep'}]}, {'GeneratedBy': 3}, '{'],
)
def test_another_dataset_is_not_overwritten(tmp_path, description):
    """An output folder that somebody else filled stays as it is."""
    root = write_dataset(tmp_path / 'raw', {RUN: ''})
    out = write_dataset(tmp_path / 'out', {'dataset_description.json': description})
    before = (out / 'dataset_description.json').read_bytes()
    with pytest.raises(BIDSError, match='out'):
        write_dataset_description(out, root, version='1')
    assert (out / 'dataset_description.json').read_bytes() == before


def test_uri_outside(tmp_path):
    """A file of another place has no name in this dataset."""
    with pytest.raises(BIDSError, match='outside'):
        bids_uri(tmp_path / 'raw' / '..' / 'x', tmp_path / 'raw')


@pytest.mark.skipif(VALIDATOR is None, reason='bids-validator-deno is not installed')
def test_validator(tmp_path):
    """The validator finds no error in the description."""
    root = write_dataset(tmp_path / 'raw', {RUN: ''})
    write_dataset_description(tmp_path / 'out', root, version='1')
    run = subprocess.run(
        [VALIDATOR, '--format', 'json', str(tmp_path / 'out')],
        capture_output=True,
        text=True,
        timeout=60,
    )
    issues = json.loads(run.stdout)['issues']['issues']
    assert not [
        issue
        for issue in issues
        if issue['severity'] == 'error' and 'dataset_description' in issue.get('location', '')
    ]


@pytest.mark.parametrize(
    ('doi', 'link', 'sources'),
    [
        (None, None, [{}]),
        ('doi:10.18112/x.v1', 'https://doi.org/10.18112/x.v1', [{'DOI': 'doi:10.18112/x.v1'}]),
        ('of Jane Doe', None, [{}]),
    ],
)
def test_no_absolute_path(monkeypatch, tmp_path, doi, link, sources):
    """Where the two folders share nothing, the relative path would be the absolute one."""
    root = write_dataset(tmp_path / 'raw', {'dataset_description.json': {'DatasetDOI': doi}})
    away = os.path.join(*['..'] * 5) + str(root)
    monkeypatch.setattr('bidsharmony.bids.description.os.path.relpath', lambda *_: away)
    written = json.loads(write_dataset_description(tmp_path / 'o', root, version='1').read_text())
    assert written['DatasetLinks'] == ({'raw': link} if link else {})
    assert written['SourceDatasets'] == [source for source in sources if source]
    assert str(root) not in json.dumps(written)
