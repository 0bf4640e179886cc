"""What one call with both levels leaves: exact names, a dictionary per table, valid BIDS."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bidsharmony import __version__
from tests import tiny_dataset
from tests.validator import errors_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).with_name('outputs.txt')
SHELLS = '0 1000 1000 1000 2000 2000 2000\n'


def write_input(root: Path) -> Path:
    """Write a pair of series with two shells, a b=0 with a trace image, and one to be refused."""
    raw = tiny_dataset.write_dataset(root)
    path = raw / 'dataset_description.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'License': 'CC0'}))
    for seed, direction in enumerate(('AP', 'PA')):
        tiny_dataset.write_run(raw, f'sub-01_dir-{direction}', seed=seed, bvals=SHELLS)
    tiny_dataset.keep_b0(tiny_dataset.write_run(raw, 'sub-02_acq-b0'))
    tiny_dataset.write_trace(raw, 'sub-02_acq-b1000')
    tiny_dataset.write_run(raw, 'sub-03', bvecs=False)
    return raw


def names(folder: Path) -> list[str]:
    """List the files of an output, but for the hidden ones, which are no part of it."""
    found = (path.relative_to(folder) for path in folder.rglob('*') if path.is_file())
    hidden = {'.bidsignore'}
    return sorted(
        path.as_posix()
        for path in found
        if path.name in hidden or not any(part.startswith('.') for part in path.parts)
    )


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """Run both levels once."""
    folder = tmp_path_factory.mktemp('outputs')
    raw = write_input(folder / 'raw')
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    call = (raw, folder / 'out', 'participant', 'group', '--weights', weights)
    done = subprocess.run(
        [sys.executable, '-m', 'bidsharmony.cli.participant', *map(str, call), '--audit', 'quick'],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    # one was refused
    assert done.returncode == 1, done.stderr
    return folder / 'out'


def test_names_are_those_of_the_contract(out):
    """A file that is renamed, missing or new fails here, and has to be told to users."""
    expected = GOLDEN.read_text().splitlines()
    found = names(out)
    assert (sorted(set(found) - set(expected)), sorted(set(expected) - set(found))) == ([], [])


def test_every_table_has_a_dictionary(out):
    """Of exactly its columns; each is described, and what can be counted has a unit."""
    tables = sorted(out.rglob('*.tsv'))
    assert [path.relative_to(out).as_posix() for path in tables] == [
        'group_runs.tsv',
        'group_scanners.tsv',
        'logs/failures.tsv',
    ]
    for path in tables:
        described = json.loads(path.with_suffix('.json').read_text())
        with path.open(encoding='utf-8', newline='') as file:
            header, *rows = csv.reader(file, delimiter='\t', quoting=csv.QUOTE_NONE)
        assert list(described) == header, path.name
        assert rows, path.name
        for name, cells in zip(header, zip(*rows, strict=True), strict=True):
            column = described[name]
            assert column['Description'], name
            given = {cell for cell in cells if cell != 'n/a'}
            if 'Levels' in column:
                assert given <= set(column['Levels']), name
                assert 'Units' not in column, name
            elif given and all(map(_is_number, given)):
                assert column['Units'], name


def _is_number(cell: str) -> bool:
    try:
        return np.isfinite(float(cell))
    except ValueError:
        return False


def test_description_leads_to_every_source(out):
    """By its links each URI of a sidecar is a file that exists; licence and program are told."""
    description = json.loads((out / 'dataset_description.json').read_text())
    assert description['DatasetType'] == 'derivative'
    assert description['License'] == 'CC0'
    program = description['GeneratedBy'][0]
    assert (program['Name'], program['Version']) == ('bidsharmony', __version__)
    assert description['SourceDatasets'] == [{'URL': '../raw'}]
    roots = {'': out} | {name: out / link for name, link in description['DatasetLinks'].items()}
    images = [name for name in names(out) if name.endswith('.nii.gz')]
    assert images
    for image in images:
        sidecar = json.loads((out / f'{image[:-7]}.json').read_text())
        assert sidecar['Sources'], image
        for uri in sidecar['Sources']:
            _, name, path = uri.split(':', 2)
            assert (roots[name] / path).is_file(), uri


def test_validator_finds_no_error(out):
    """The output of both levels is a BIDS derivative."""
    assert errors_of(out) == []
