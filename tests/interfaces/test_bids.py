"""Outputs are named after the input's entities, and written byte for byte."""

import json
from pathlib import Path

import pytest

from bidsharmony.bids.names import output_stem
from bidsharmony.interfaces.bids import DerivativesDataSink

STEMS = {
    'sub-01_dwi.nii.gz': 'sub-01',
    'sub-01_ses-a_acq-x_dir-AP_run-02_dwi.nii.gz': 'sub-01_ses-a_acq-x_dir-AP_run-02',
    'sub-01_space-ACPC_desc-preproc_dwi.nii.gz': 'sub-01_space-ACPC',
    'sub-01_foo-1_res-2_den-3_chunk-1_dwi.nii': 'sub-01_foo-1_res-2_den-3_chunk-1',
    'sub-01_dir-AP_acq-b_dwi.nii.gz': 'sub-01_dir-AP_acq-b',
    'sub-01_ses-a_acq-b1000_trace.nii.gz': 'sub-01_ses-a_acq-b1000',
    'sub-01_rec-TRACE_dwi.nii': 'sub-01_rec-TRACE',
}


def sink(tmp_path: Path, name: str, in_file: Path, **entities):
    """Run one sink for an input called ``name``."""
    folder = 'sub-01/ses-a/dwi' if '_ses-a' in name else 'sub-01/dwi'
    (tmp_path / 'work').mkdir(exist_ok=True)
    return (
        DerivativesDataSink(
            base_directory=str(tmp_path / 'out'),
            source_file=str(tmp_path / 'raw' / folder / name),
            in_file=str(in_file),
            check_hdr=False,
            compress=in_file.name.endswith('.gz'),
            **entities,
        )
        .run(cwd=tmp_path / 'work')
        .outputs
    )


@pytest.mark.parametrize(('name', 'stem'), STEMS.items())
def test_names(tmp_path, name, stem):
    """The stem is the input's, whatever entities it has."""
    image = tmp_path / 'canonical_adc.nii.gz'
    image.write_bytes(b'as it is')
    found = sink(tmp_path, name, image, desc='harmonized', suffix='ADC', meta_dict={'A': 1})
    written = Path(found.out_file)
    assert written.name == f'{stem}_desc-harmonized_ADC.nii.gz'
    assert written.read_bytes() == b'as it is'
    assert json.loads(Path(found.out_meta).read_text()) == {'A': 1}
    assert output_stem(Path(name)) == stem


@pytest.mark.parametrize(
    ('file', 'entities', 'name'),
    [
        ('x.bval', {'desc': 'harmonized', 'suffix': 'dwi'}, 'dwi/sub-01_desc-harmonized_dwi.bval'),
        ('qc.json', {'desc': 'harmonized', 'suffix': 'qc'}, 'dwi/sub-01_desc-harmonized_qc.json'),
        ('s.npz', {'desc': 'audit', 'suffix': 'slices'}, 'dwi/sub-01_desc-audit_slices.npz'),
        (
            'gain.png',
            {'desc': 'gain', 'suffix': 'dwi', 'datatype': 'figures'},
            'figures/sub-01_desc-gain_dwi.png',
        ),
        (
            'm.nii.gz',
            {'desc': 'brain', 'suffix': 'mask', 'grid': 'canonical'},
            'dwi/sub-01_res-canonical_desc-brain_mask.nii.gz',
        ),
    ],
)
def test_kinds(tmp_path, file, entities, name):
    """Every kind of output has its place."""
    (tmp_path / file).write_bytes(b'content')
    found = sink(tmp_path, 'sub-01_dwi.nii.gz', tmp_path / file, **entities)
    assert Path(found.out_file) == tmp_path / 'out' / 'sub-01' / name
    assert Path(found.out_file).read_bytes() == b'content'


def test_gradients_are_copies(tmp_path):
    """A link would let a change of the output change the user's dataset."""
    (tmp_path / 'x.bvec').write_text('1 0 0')
    found = sink(
        tmp_path, 'sub-01_dwi.nii.gz', tmp_path / 'x.bvec', desc='harmonized', suffix='dwi'
    )
    assert Path(found.out_file).stat().st_nlink == 1
