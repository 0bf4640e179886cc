"""The sentences at the head of the group page."""

import pytest

from bidsharmony.reports.group import GroupContent, spectrum_verdict, texture_verdict


def content(n_subjects: int, n_scanners: int = 2) -> GroupContent:
    """Scanners with so many subjects each, one run each."""
    row = {
        'n_subjects': n_subjects,
        'psd_b0_before_distance': 4.0,
        'psd_b0_after_distance': 1.5,
    }
    return GroupContent(
        n_runs=n_subjects * n_scanners,
        n_subjects=n_subjects * n_scanners,
        runs=(),
        scanners=[row] * n_scanners,
        unused=(),
        n_unused=0,
        eta_squared={('b0', 'before'): 0.9, ('b0', 'after'): 0.3} if n_scanners > 1 else {},
    )


@pytest.mark.parametrize(
    ('made', 'text'),
    [
        (
            content(5),
            'the scanner explains 90% of the variance of texture before and 30% after '
            '(without any scanner effect: 11%).',
        ),
        (content(2), 'texture not compared: a scanner has fewer than 3 subjects.'),
        (content(5, 1), 'texture not compared: only one scanner.'),
    ],
)
def test_texture(made, text):
    assert texture_verdict(made, 'b0') == {'name': 'b = 0', 'text': text}


def test_spectra():
    verdict = spectrum_verdict(content(2), 'b0')
    assert verdict['text'].endswith('lie 4 dB from their mean before and 1.5 dB after.')
    assert spectrum_verdict(content(2), 'trace') is None
