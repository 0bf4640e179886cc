"""What stands on top of a run is what its figures say."""

import pytest

from bidsharmony.reports.guarantee import guarantee_view, no_series_view
from bidsharmony.reports.summary import headline, spectrum_inside, summary_rows
from bidsharmony.viz.canonical import canonical_range, half_amplitude_frequency
from tests.synthetic_runs import lesions, qc

KEPT = guarantee_view({'max_ratio_change': 1e-7, 'n_voxels': 9, 'limit': 1e-6})


def with_spectra(before: float, after: float, fwhm: float = 2.0) -> dict:
    """A run whose spectra are so many times the upper end of the canonical band."""
    known = canonical_range()
    psd = {'freqs_per_mm': known['freqs_per_mm']} | {
        channel: {
            when: [factor * value for value in ends['high']]
            for when, factor in (('before', before), ('after', after))
        }
        for channel, ends in known['psd'].items()
    }
    document = qc('01', 'avanto', psd=psd)
    document['network']['canonical_fwhm_mm'] = fwhm
    return document


def rows(document: dict, guarantee: dict = KEPT) -> dict:
    """Lines by name."""
    return {row['name']: row for row in summary_rows(document, guarantee)}


def test_spectra_are_counted_in_their_band():
    """On its upper end all is inside, at three times that nothing is."""
    assert spectrum_inside(with_spectra(3.0, 1.0)) == (0.0, 1.0)
    assert '0% → 100%' in rows(with_spectra(3.0, 1.0))['Resolution']['text']


def test_what_lies_beyond_the_canonical_resolution_does_not_count():
    """Frequencies above half amplitude are not compared."""
    document, known = with_spectra(1.0, 1.0), canonical_range()
    limit = half_amplitude_frequency(2.0)
    for n, freq in enumerate(known['freqs_per_mm']):
        if freq > limit:
            document['psd']['b0']['after'][n] = 1e9
    assert spectrum_inside(document) == (1.0, 1.0)


@pytest.mark.parametrize(
    'document', [with_spectra(1, 1, fwhm=3.5), qc('01', 'avanto', psd=None), {}]
)
def test_without_a_band_nothing_is_said_of_it(document):
    """Another resolution, no spectrum, nothing at all."""
    assert spectrum_inside(document) is None
    assert 'band' not in rows(document)['Resolution']['text']


@pytest.mark.parametrize(
    ('used', 'text'),
    [
        ({}, 'field unknown, TE unknown →'),
        ({'EchoTime': 0.0724}, 'field unknown, TE 72.4 ms →'),
        ({'MagneticFieldStrength': 1.5, 'EchoTime': None}, '1.5 T, TE unknown →'),
    ],
)
def test_what_is_not_known_is_said(used, text):
    """A contrast that came from nowhere is not made up."""
    document = qc('01', 'avanto', sidecar={'used': used})
    assert rows(document)['Contrast']['text'].startswith(text)


@pytest.mark.parametrize(
    ('guarantee', 'tone'),
    [
        (KEPT, 'good'),
        (guarantee_view({}), 'bad'),
        (no_series_view('no directions'), ''),
    ],
)
def test_diffusion_has_the_tone_of_the_guarantee(guarantee, tone):
    """Green only where it was shown to hold."""
    row = rows(qc('01', 'avanto'), guarantee)['Diffusion']
    assert row['tone'] == tone
    assert row['text'].startswith(guarantee['headline'])


@pytest.mark.parametrize(
    ('block', 'text'),
    [
        (lesions(), '3.1 ml marked; after with before: Dice 0.93 on the trace, contrast-to-noise'),
        ({'volume_ml': 1.0}, '1 ml marked; after with before: contrast-to-noise on the trace n/a'),
        (None, 'no mask was given'),
    ],
)
def test_lesions(block, text):
    """A rule that found nothing has no Dice."""
    assert rows(qc('01', 'avanto', lesions=block))['Lesions']['text'].startswith(text)


@pytest.mark.parametrize(
    ('before', 'after', 'text', 'tone'),
    [
        (0.0, 0.9, 'found on the trace only after', ''),
        (0.9, 0.0, 'found on the trace only before', 'bad'),
        (0.9, 0.9, 'Dice 0 on the trace', ''),
    ],
)
def test_a_lesion_that_is_found_once_is_told_from_one_that_moved(before, after, text, tone):
    """A threshold may be blind to it in the scan; what it no longer finds after is a loss."""
    block = lesions()
    block['dice']['trace_bright'] = {'before': before, 'after': after, 'before_after': 0.0}
    row = rows(qc('01', 'avanto', lesions=block))['Lesions']
    assert text in row['text']
    assert row['tone'] == tone


@pytest.mark.parametrize(
    ('warnings', 'text', 'tone'),
    [([], 'none.', ''), (['a'], '1, see below.', 'warning'), (['a'] * 3, '3, see', 'warning')],
)
def test_warnings_are_counted(warnings, text, tone):
    """And none is a statement too."""
    document = qc('01', 'avanto', warnings=warnings)
    row = rows(document)['Warnings']
    assert row['text'].startswith(text)
    assert row['tone'] == tone
    assert headline(document, KEPT).count('warning') == bool(warnings)


def test_a_dial_that_was_not_turned_all_the_way_is_told():
    """Half a harmonization is not a whole one."""
    document = qc('01', 'avanto')
    document['network']['strength'] = 0.5
    assert rows(document)['Contrast']['text'].endswith('; 0.5 of the way.')
