"""Runs are summarised one at a time, and only those that a marker vouches for."""

import json
import math

import numpy as np
import pytest

from bidsharmony.evaluation.finished import FinishedRun, Unused, middle_slice, read_runs
from bidsharmony.evaluation.summary import GroupSummary, Moments, eta_squared, median_frequency
from bidsharmony.evaluation.tables import (
    cell,
    figures_of,
    run_dictionary,
    run_row,
    scanner_dictionary,
    scanner_rows,
)
from tests.synthetic_runs import SCANNERS, mark_done, qc, write_run


@pytest.fixture
def out_dir(tmp_path):
    """One marked run."""
    write_run(tmp_path, qc('01', 'prisma'), 'prisma', figures=False, n_slices=2)
    mark_done(tmp_path, 'sub-01')
    return tmp_path


def summed(documents) -> GroupSummary:
    """Feed documents to a summary."""
    summary = GroupSummary()
    for document in documents:
        run = FinishedRun(document, None, None)
        summary.add(run, figures_of(run_row(document)))
    return summary


def outcome(out_dir):
    """Split what was read into runs and the reasons of the rest."""
    items = list(read_runs(out_dir))
    runs = [item.qc['run'] for item in items if isinstance(item, FinishedRun)]
    return runs, {item.name: item.reason for item in items if isinstance(item, Unused)}


def test_marked_runs_are_read(out_dir):
    """Marker, figures and audit slices belong together."""
    (run,) = read_runs(out_dir)
    assert run.qc['run'] == 'sub-01_dir-AP'
    before, after, mask = middle_slice(run)
    assert before.shape == after.shape == (2, 160, 160)
    assert mask.dtype == bool
    assert mask.any()


def test_runs_without_a_marker_are_named_not_used(out_dir):
    """A participant that is still running."""
    write_run(out_dir, qc('02', 'avanto'), 'avanto', figures=False, n_slices=2)
    (out_dir / '.bidsharmony' / 'staging' / 'sub-03').mkdir(parents=True)
    runs, unused = outcome(out_dir)
    assert runs == ['sub-01_dir-AP']
    assert set(unused) == {'sub-02_dir-AP', 'sub-03'}
    assert 'not marked as done' in unused['sub-02_dir-AP']


def test_refused_and_failed_runs_are_named_once(out_dir):
    """The marker and the table of failures may both know of a run."""
    name = 'sub-01/dwi/sub-01_acq-x_dwi.nii.gz'
    mark_done(out_dir, 'sub-01', refused=[[name, '5 b-values for 6 volumes']])
    (out_dir / 'logs').mkdir()
    (out_dir / 'logs' / 'failures.tsv').write_text(
        f'run\tstatus\treason\n{name}\trefused\tx\nsub-09/dwi/b.nii.gz\tfailed\tkilled\n'
    )
    assert outcome(out_dir)[1] == {
        name: '5 b-values for 6 volumes',
        'sub-09/dwi/b.nii.gz': 'failed: killed',
    }


def tamper_content(out_dir):
    """Change qc.json after it was marked."""
    next((out_dir / 'sub-01').rglob('*_qc.json')).write_text('{}')


def tamper_absence(out_dir):
    """Delete qc.json."""
    next((out_dir / 'sub-01').rglob('*_qc.json')).unlink()


def tamper_format(out_dir):
    """Write a qc.json that is a list, and mark it."""
    next((out_dir / 'sub-01').rglob('*_qc.json')).write_text('[1]')
    mark_done(out_dir, 'sub-01')


def tamper_depth(out_dir):
    """Write a qc.json that nests without end, and mark it."""
    next((out_dir / 'sub-01').rglob('*_qc.json')).write_text('{"a":' * 100_000)
    mark_done(out_dir, 'sub-01')


def tamper_marker(out_dir):
    """Cut the marker in half."""
    marker = next((out_dir / '.bidsharmony' / 'done').iterdir())
    marker.write_text(marker.read_text()[:40])


def tamper_marker_type(out_dir):
    """Give the marker another form."""
    mark_done(out_dir, 'sub-01', outputs=['x'])
    marker = next((out_dir / '.bidsharmony' / 'done').iterdir())
    marker.write_text(json.dumps({'outputs': [3]}))


def tamper_path(out_dir):
    """Let the marker point out of the folder."""
    outside = out_dir.parent / 'x_desc-harmonized_qc.json'
    outside.write_text('{}')
    mark_done(out_dir, 'sub-01', outputs={f'../{outside.name}': '0' * 64})


@pytest.mark.parametrize(
    ('tamper', 'reason'),
    [
        (tamper_content, 'changed after the run'),
        (tamper_absence, 'is missing'),
        (tamper_format, 'no JSON object'),
        (tamper_depth, 'no JSON object'),
        (tamper_marker, 'done-marker is damaged'),
        (tamper_marker_type, 'done-marker is damaged'),
        (tamper_path, 'leads out of the output folder'),
    ],
)
def test_what_does_not_fit_is_named_not_used(out_dir, tamper, reason):
    """Nothing unvouched gets into a table, and nothing stops the other participants."""
    write_run(out_dir, qc('02', 'avanto'), 'avanto', figures=False, n_slices=2)
    mark_done(out_dir, 'sub-02')
    tamper(out_dir)
    runs, unused = outcome(out_dir)
    assert runs == ['sub-02_dir-AP']
    assert reason in ' '.join(unused.values())


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', b'\x80\x04.'])
def test_changed_audit_slices_are_not_shown(out_dir, content):
    """Slices that are not the marked ones are left out; pickles are never read."""
    (run,) = read_runs(out_dir)
    run.audit_file.write_bytes(content)
    assert middle_slice(run) is None


@pytest.mark.parametrize(
    ('freqs', 'psd', 'expected'),
    [([0.1, 0.2, 0.3], [1, 0, 0], 0.1), ([0.1, 0.2], [1, 1], 0.15), ([], [], math.nan),
     ([0.1], [0], math.nan), ([0.1, 0.2], [1], math.nan), ([0.1], [math.nan], math.nan)],
)  # fmt: skip
def test_median_frequency(freqs, psd, expected):
    """Half of the power lies below."""
    assert median_frequency(freqs, psd) == pytest.approx(expected, nan_ok=True)


def test_moments_agree_with_numpy(rng):
    """One pass gives what two passes give, far from zero too."""
    values, moments = 1e6 + rng.normal(size=100), Moments()
    for value in values:
        moments.add(value)
    assert moments.mean == pytest.approx(values.mean(), rel=1e-12)
    assert moments.sd == pytest.approx(values.std(ddof=1), rel=1e-9)


@pytest.mark.parametrize(
    ('groups', 'expected'),
    [
        ([[0, 2], [4, 6]], 0.8),  # between 16, within 4
        ([[1, 3], [1, 3]], 0.0),
        ([[1, 1], [2, 2]], 1.0),
        ([[1, 2], [3]], None),
        ([[1, 2, 3]], None),
        ([[1, 1], [1, 1]], None),
    ],
)
def test_eta_squared(groups, expected):
    """Share of the sum of squares that lies between groups."""
    moments = [Moments() for _ in groups]
    for one, values in zip(moments, groups, strict=True):
        for value in values:
            one.add(value)
    assert eta_squared(moments) == (None if expected is None else pytest.approx(expected))


def test_scanners_are_summed_up():
    """Counts, means and order: most runs first."""
    summary = summed(
        [
            qc('01', 'avanto'),
            qc('01', 'prisma'),
            qc('01', 'prisma', session='b'),
            qc('02', 'prisma'),
        ]
    )
    first, second = scanner_rows(summary)
    assert (first['scanner'], first['n_runs'], first['n_subjects']) == ('Siemens Prisma 3 T', 3, 2)
    assert second['snr_b0_mean'] == pytest.approx(1 / 0.06, rel=1e-4)
    assert second['snr_b0_sd'] is None
    assert list(first) == list(scanner_dictionary())


def test_harmonization_brings_scanners_together():
    """Synthetic scanners differ before and hardly after."""
    summary = summed(
        qc(f'{index}', scanner, seed=index) for index, scanner in enumerate(list(SCANNERS) * 3)
    )
    for channel in ('b0', 'trace'):
        before, after = (
            np.mean(list(summary.spectral_distance(channel, side).values()))
            for side in ('before', 'after')
        )
        assert after < before / 4
        assert summary.texture_eta_squared(channel, 'after') < 0.6
        assert summary.texture_eta_squared(channel, 'before') > 0.9


def test_one_scanner_is_no_comparison():
    """Nothing is claimed of a study with one scanner."""
    summary = summed([qc('01', 'prisma'), qc('02', 'prisma')])
    assert summary.spectral_distance('b0', 'before') == {}
    assert summary.texture_eta_squared('b0', 'before') is None


@pytest.mark.parametrize(
    'psd',
    [None, {}, {'freqs_per_mm': 'x'}, {**qc('1', 'prisma')['psd'], 'freqs_per_mm': [0.2, 0.1]},
     {**qc('1', 'prisma')['psd'], 'trace': {'before': [None], 'after': [1]}}],
)  # fmt: skip
def test_unsound_spectra_are_left_out(psd):
    """A run without usable spectra still counts, and the others' mean stands."""
    summary = summed([qc('01', 'prisma'), qc('02', 'prisma', psd=psd)])
    scanner = summary.scanners['Siemens Prisma 3 T']
    assert (scanner.n_runs, scanner.n_spectra) == (2, 1)
    np.testing.assert_allclose(
        scanner.spectrum('b0', 'before'), qc('01', 'prisma')['psd']['b0']['before']
    )


@pytest.mark.parametrize('key', sorted(qc('01', 'prisma')))
def test_runs_with_gaps_have_a_row(key):
    """What a run lacks is n/a."""
    document = qc('01', 'prisma') | {key: None}
    row = run_row(document)
    assert list(row) == list(run_dictionary())
    assert all('\t' not in cell(value) for value in row.values())
    assert len(list(scanner_rows(summed([document])))) == 1


def test_every_column_is_described():
    """Each has a sentence, those with a dimension a unit."""
    for dictionary in (run_dictionary(), scanner_dictionary()):
        assert all(entry['Description'] for entry in dictionary.values())
    assert scanner_dictionary()['psd_b0_after_distance']['Units'] == 'dB'
    assert scanner_dictionary()['n_runs']['Units'] == '1'
    found = run_dictionary()
    assert set(found['trace_method']['Levels']) == {'tensor', 'geometric'}
    assert set(found['extrapolated']['Levels']) == {cell(True), cell(False)}
