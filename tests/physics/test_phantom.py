"""Scanners of the phantom, and heads made of a template."""

import numpy as np
import pytest

from bidsharmony.physics.heads import template_head, warped_head
from bidsharmony.physics.phantom import PEAK_OFFSET, icbm_head, phantom_scanners
from bidsharmony.physics.scanner import KSpace
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES
from tests.physics.heads import ball

SCANNERS = {scanner.label: scanner for scanner in phantom_scanners()}
EACH = pytest.mark.parametrize('scanner', SCANNERS.values(), ids=SCANNERS)
PROTON_MHZ_PER_TESLA = 42.577


def test_scanners_differ_in_vendor_and_field():
    first = list(SCANNERS.values())[:3]
    assert len({s.sidecar['Manufacturer'] for s in first}) == 3
    assert len({s.protocol.contrast.field_strength for s in first}) == 2
    every = SCANNERS.values()
    assert len(every) >= 7
    assert {s.sidecar['Manufacturer'] for s in every} >= {
        'Siemens',
        'GE',
        'Philips',
        'Canon',
        'UIH',
    }
    assert {s.protocol.contrast.field_strength for s in every} == {1.5, 3.0, 7.0}


@EACH
def test_sidecar_says_what_the_protocol_does(scanner):
    sidecar, protocol = scanner.metadata(20, 'program 1.0'), scanner.protocol
    kspace = KSpace(protocol, scanner.fov)
    assert sidecar['EchoTime'] == protocol.contrast.echo_time
    assert sidecar['RepetitionTime'] == protocol.contrast.repetition_time
    assert sidecar['SliceThickness'] == protocol.thickness
    assert sidecar['SpacingBetweenSlices'] == protocol.spacing
    assert sidecar['MagneticFieldStrength'] == protocol.contrast.field_strength
    assert sidecar['Manufacturer'] == protocol.vendor
    assert (sidecar['AcquisitionMatrixPE'], sidecar['ReconMatrixPE']) == (
        kspace.matrix[0],
        kspace.recon,
    )
    assert scanner.fov / kspace.matrix[1] == pytest.approx(protocol.pixel, rel=0.01)
    assert sidecar.get('BaseResolution', kspace.matrix[1]) == kspace.matrix[1]
    assert sidecar.get('PartialFourier', protocol.partial_fourier) == protocol.partial_fourier
    partial = {'PFF', 'PFP'} & set(sidecar['ScanOptions'].split('\\'))
    assert bool(partial) == (protocol.partial_fourier < 1) or protocol.vendor == 'Philips'
    if 'ImagingFrequency' in sidecar:
        # what is sold as 3 T may be 2.89 T
        nominal = PROTON_MHZ_PER_TESLA * protocol.contrast.field_strength
        assert sidecar['ImagingFrequency'] == pytest.approx(nominal, rel=0.04)
    # an echo is read in less time than lies between echoes, and half the train before TE
    assert 1 / sidecar['PixelBandwidth'] < scanner.echo_spacing
    lines = kspace.matrix[0] / scanner.acceleration
    before = lines * (protocol.partial_fourier - 0.5) * scanner.echo_spacing
    assert before < protocol.contrast.echo_time / 2


@EACH
def test_shift_follows_from_the_readout(scanner):
    """Offset in Hz times the time between lines, of the field of view; 'j' moves the other way."""
    between = scanner.echo_spacing / scanner.acceleration
    expected = PEAK_OFFSET * scanner.protocol.contrast.field_strength * between * scanner.fov
    assert abs(scanner.protocol.warp_mm) == pytest.approx(expected)
    assert (scanner.protocol.warp_mm > 0) == (scanner.polarity == 'j-')
    assert scanner.metadata(9, 'p 1').get('PhaseEncodingDirection', scanner.polarity) == (
        scanner.polarity
    )


def test_template_head_has_every_layer(rng):
    codes = ball(80, 24).codes
    grey = (codes == TISSUE_NAMES.index('cortex')).astype(float)
    white = (codes == TISSUE_NAMES.index('white matter')).astype(float)
    brain = (grey + white > 0) | (codes == TISSUE_NAMES.index('cerebrospinal fluid'))
    head = template_head('t', grey, white, brain)
    present = {TISSUE_NAMES[code] for code in np.unique(head.codes)}
    assert {'cortex', 'white matter', 'ventricle', 'bone', 'skin', 'air'} <= present
    moved = warped_head(head, 'm', rng, amplitude=1.0)
    changed = np.mean(moved.codes != head.codes)
    assert 0.005 < changed < 0.3


@pytest.mark.slow
def test_template_has_air_in_its_skull_base():
    """So that susceptibility acts on the demo too, and most low in the brain."""
    head = icbm_head()
    field = head.susceptibility
    brain = BRAIN_TISSUES[head.codes[::4, ::4, ::4]]
    low, front = (np.argwhere((field > 0.5) & brain).mean(axis=0) / brain.shape)[[2, 1]]
    assert field[brain].max() == pytest.approx(1)
    assert low < 0.35
    assert front > 0.35
