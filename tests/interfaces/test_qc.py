"""Numbers are rounded, archives repeat, and the schema knows every key."""

import json
from importlib.resources import files

import jsonschema
import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids import collect_dwi
from bidsharmony.evaluation.scan import no_brain_warnings
from bidsharmony.interfaces.inputs import check_run
from bidsharmony.interfaces.qc import (
    MeasureRun,
    dump_json,
    rounded,
)
from bidsharmony.interfaces.summary import BrainMask, MeanB0, TraceWeighted
from bidsharmony.interfaces.volumes import load_mask, load_volume
from bidsharmony.network.facts import TOLD
from bidsharmony.numerics.diffusion import apparent_diffusion, brain_mask
from bidsharmony.numerics.intensity import adc_shares
from tests.synthetic_runs import head, lesions, qc

SCHEMA = json.loads(files('bidsharmony.data').joinpath('qc.schema.json').read_text())


def test_json_has_no_nan():
    """What is not finite is null."""
    text = dump_json(rounded({'a': np.float32('nan'), 'b': [np.int64(2), 1 / 3], 'c': (True,)}))
    assert json.loads(text) == {'a': None, 'b': [2, 0.333333], 'c': [True]}


def test_schema_is_json_and_closed():
    """The schema names its version and lets no unknown key in."""
    assert SCHEMA['properties']['version'] == {'const': 1}
    assert SCHEMA['additionalProperties'] is False
    assert set(SCHEMA['required']) == set(SCHEMA['properties'])
    sidecar = SCHEMA['properties']['sidecar']['properties']
    assert tuple(sidecar['used']['propertyNames']['enum']) == TOLD
    assert tuple(sidecar['missing']['items']['enum']) == TOLD


def assemble(
    *, tissue_share: float = 0.8, no_series: str = '', blended: float = 0.008, **inputs
) -> dict:
    """Assemble a document as the interface does, of a sidecar with values of every kind."""
    drawn = qc('01', 'avanto', session='a')
    keys = ('run', 'subject', 'session', 'scanner', 'input', 'notes', 'warnings')
    measure = MeasureRun(
        run={key: drawn[key] for key in keys}
        | {'sidecar': {'EchoTime': 80, 'PartialFourier': 1}, 'no_series': no_series},
        trace_facts={key: drawn['summary'][key] for key in (
            'trace_method', 'b_acquired', 'extrapolated', 'n_directions'
        )},
        bias_facts=drawn['bias'],
        network_facts=drawn['network']
        | {'robust_scale': 412.0, 'forward': drawn['forward'] | {'blended_fraction': blended}},
        **({} if no_series else {
            'guarantee': drawn['guarantee'],
            'series_facts': drawn['series'],
            'noise_facts': {'sigma_volume': 0.0, 'sigma_harmonized': 0.0},
        }),
        denoising={'mppca': False, 'rician': True},
        b0_agreement={'shift_mm': float('nan'), 'difference': float('nan')},
        compared={
            'summary': {
                'noise_sigma': float('nan'),
                'snr_b0': None,
                'mask_volume_ml': 1.0,
                'tissue_share': tissue_share,
                'fluid_share': 0.1,
            },
            'gain': {'p05': 0.9, 'median': 1.0, 'p95': 1.1},
            'adc': {'before_median': 8e-4, 'after_median': float('nan')},
            **{key: drawn[key] for key in ('psd', 'glcm')},
        },
        **inputs,
    )  # fmt: skip
    return measure._assemble()


@pytest.fixture
def assembled() -> dict:
    """Assemble the document of a series of a brain."""
    return assemble()


def test_no_series_has_no_guarantee_and_says_why():
    """There is nothing whose ratios could change."""
    document = assemble(no_series='the trace image has no gradient table')
    jsonschema.validate(document, SCHEMA)
    assert document['guarantee'] is None
    assert document['series'] is None
    assert document['denoising']['sigma_volume'] is None
    assert document['denoising']['sigma_harmonized'] is None
    assert document['no_series'] == 'the trace image has no gradient table'


@pytest.mark.parametrize('n_voxels', [0, 431])
def test_lesions_stand_in_the_document(n_voxels):
    """As they were measured; where none of a mask is in the brain there is a warning."""
    document = assemble(lesions=lesions() | {'n_voxels': n_voxels})
    jsonschema.validate(document, SCHEMA)
    assert document['lesions']['dice']['trace_bright']['after'] == 0.89
    said = 'No voxel of the lesion masks lies in the brain.' in document['warnings']
    assert said == (n_voxels == 0)
    assert assemble()['lesions'] is None


@pytest.mark.parametrize(('tissue_share', 'flagged'), [(0.31, False), (0.29, True), (0.0, True)])
def test_a_test_object_is_a_warning_of_the_run(tissue_share, flagged):
    """The number stands in the document, whatever it is."""
    document = assemble(tissue_share=tissue_share)
    assert document['summary']['tissue_share'] == tissue_share
    assert any('no brain' in text for text in document['warnings']) == flagged


@pytest.mark.parametrize(('blended', 'flagged'), [(0.09, False), (0.11, True)])
def test_a_network_that_is_overruled_widely_is_a_warning(blended, flagged):
    """A tenth of the brain is more than any real scan had."""
    document = assemble(blended=blended)
    assert document['forward']['blended_fraction'] == blended
    assert any('overrules' in text for text in document['warnings']) == flagged


def test_documents_follow_the_schema(assembled):
    """Types, enums and ranges hold for what is written, and for what the page tests draw."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for document in (assembled, qc('01', 'prisma')):
        jsonschema.validate(document, SCHEMA)
    assert assembled['sidecar']['used'] == {
        'BValue': 1000.0,
        'SliceThickness': 2.2,
        'AcquiredPixel': 2.0,
    }
    assert 'EchoTime' in assembled['sidecar']['missing']
    assert assembled['b0_agreement'] == {'shift_mm': None, 'difference': None}
    assert 'No noise could be measured' in assembled['warnings'][-1]


@pytest.mark.parametrize(
    ('part', 'key', 'value'),
    [
        ('sidecar', 'used', {'EchoTime': None}),
        ('sidecar', 'used', {'FlipAngle': 90}),
        ('sidecar', 'missing', ['PatientName']),
        ('summary', 'trace_method', 'median'),
        ('input', 'slice_axis', 3),
        ('network', 'weights_sha256', 'abc'),
    ],
)
def test_the_schema_refuses(assembled, part, key, value):
    """A wrong type, name or range is seen."""
    assembled[part][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(assembled, SCHEMA)


OBJECTS = {
    'drawn head': (None, None),
    'water at 20 degrees': (2.0e-3, ' 0 % of the mask has an ADC of 0.5 to 1.2 x 10^-3'),
    'water at 37 degrees': (3.0e-3, ' 0 % of the mask has an ADC of 0.5 to 1.2 x 10^-3'),
    'polymer': (0.8e-3, ' 0 % of the mask has an ADC above 1.2 x 10^-3'),
    'oil': (0.0, ' 0 % of the mask has an ADC of 0.5 to 1.2 x 10^-3'),
}


@pytest.mark.parametrize(('adc', 'said'), OBJECTS.values(), ids=OBJECTS)
def test_what_diffuses_like_no_brain_is_flagged(rng, adc, said):
    """A head is not; balls of one substance are, with number and limit, and noise in them all."""
    images, masks = head(9)
    b0, trace, mask = images[:, 0], images[:, 1], masks
    if adc is not None:
        b0 = 1.0 * masks
        trace = b0 * np.exp(-1000 * adc)
    noisy = [np.abs(image + rng.normal(0, 0.01, image.shape)) for image in (b0, trace)]
    warnings = no_brain_warnings(*adc_shares(apparent_diffusion(*noisy, mask), mask))
    assert bool(warnings) == (adc is not None)
    assert said is None or any(said in text and 'less than' in text for text in warnings)


def measured_shares(dwi_file, bval_file, bvec_file, b0_ixs, folder):
    """Take a series through the interfaces up to the shares of tissue and fluid in its mask."""
    b0 = MeanB0(dwi_file=dwi_file, b0_ixs=b0_ixs).run(cwd=folder).outputs.b0_file
    mask = BrainMask(b0_file=b0).run(cwd=folder).outputs.mask_file
    trace = TraceWeighted(
        dwi_file=dwi_file,
        bval_file=bval_file,
        bvec_file=bvec_file,
        b0_ixs=b0_ixs,
        mask_file=mask,
    )
    adc = trace.run(cwd=folder).outputs.adc_file
    return adc_shares(load_volume(adc), load_mask(mask))


@pytest.mark.slow
def test_no_real_brain_is_flagged(shared_data, tmp_path):
    """Nine series of six scanners, whatever their b-value, slices and field of view."""
    runs = collect_dwi(shared_data / 'bids_multiscanner').runs
    assert len(runs) == 9
    for run in runs:
        b0_ixs = list(check_run(run, 50.0).b0_ixs)
        files = map(str, (run.image, run.bval, run.bvec))
        tissue, fluid = measured_shares(*files, b0_ixs, tmp_path)
        assert no_brain_warnings(tissue, fluid) == [], run.stem
        # as the limits' docstrings say
        assert 0.74 < tissue < 0.93
        assert 0.07 < fluid < 0.25


def test_a_real_stroke_is_not_flagged(shared_data):
    """Restricted diffusion in a part of a brain leaves it one."""
    folder = shared_data / 'lesion' / 'ADS'
    b0, dwi = (nb.load(folder / f'Subject02_{name}.nii.gz') for name in ('b0', 'DWI'))
    image = np.asarray(b0.dataobj, np.float32)
    mask = brain_mask(image, zooms=b0.header.get_zooms()[:3])
    adc = apparent_diffusion(image, np.asarray(dwi.dataobj), mask)
    tissue, fluid = adc_shares(adc, mask)
    assert no_brain_warnings(tissue, fluid) == []
    assert (tissue, fluid) == pytest.approx((0.78, 0.21), abs=0.01)


def test_a_real_test_object_is_flagged(shared_data, tmp_path):
    """It is harmonized all the same, since nobody asked whether it should be."""
    stem = shared_data / 'phantom' / '14_PRODUCT_ep2d_diff_p2_sms1'
    b0_ixs = np.flatnonzero(np.loadtxt(f'{stem}.bval') <= 50).tolist()
    files = [f'{stem}{ending}' for ending in ('.nii.gz', '.bval', '.bvec')]
    tissue, fluid = measured_shares(*files, b0_ixs, tmp_path)
    assert (tissue, fluid) == pytest.approx((0.13, 0.73), abs=0.01)
    (warning,) = no_brain_warnings(tissue, fluid)
    assert 'This may be no brain: 13 % of the mask' in warning
    assert 'less than 30 %' in warning
