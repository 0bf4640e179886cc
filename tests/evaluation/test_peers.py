"""Peers do what is known of them, and the table says what it measured."""

import csv
import doctest
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bidsharmony.numerics.tensor import fit_tensors
from bidsharmony.physics.heads import Head
from bidsharmony.physics.protocol import Protocol, held_out_scanners
from bidsharmony.physics.signal import Contrast
from bidsharmony.physics.volumes import gradient_directions
from tests.physics.heads import ball

SCRIPTS = ('cohort', 'combat', 'peer_methods', 'peer_series', 'peers', 'rish')
MISSING = 'a peer of benchmarks/requirements-peers.txt is not installed'


@pytest.fixture(scope='module')
def bench(benchmark_script):
    """Return the scripts of the benchmark."""
    return SimpleNamespace(**{name: benchmark_script(name) for name in SCRIPTS})


def tiny(bench, truth, scans, protocols):
    """Return a cohort of (H, N, 2, F, F) truth and (H, S, N, 2, F, F) scans, all of it brain."""
    brain = np.ones((*truth.shape[:2], *truth.shape[-2:]), bool)
    nothing = ~brain
    images = {'bicubic': np.float32(scans)}
    facts = [[{} for _ in protocols] for _ in truth]
    return bench.cohort.Cohort(
        protocols, np.float32(truth), brain, brain, brain, nothing, nothing, images, facts, []
    )


@pytest.fixture
def scaled(bench, rng):
    """Return a cohort of two heads on three scanners that differ by a line, and the lines."""
    truth = rng.gamma(4, 0.25, (2, 2, 2, 24, 24))
    slopes, offsets = np.array([0.7, 1.0, 1.6]), np.array([0.2, 0.0, 0.1])
    by_scanner = (slice(None), *[None] * 4)
    scans = slopes[by_scanner] * truth[:, None] + offsets[by_scanner]
    return tiny(bench, truth, scans, held_out_scanners(rng)[:3])


@pytest.mark.parametrize('name', ['combat', 'peer_methods', 'peer_series', 'peers', 'rish'])
def test_examples_hold(bench, name):
    found = doctest.testmod(getattr(bench, name))
    assert found.attempted > 0
    assert found.failed == 0


def test_z_scores_take_out_scale_and_offset(bench, scaled):
    made = bench.peer_methods.by_run(scaled, bench.peer_methods.z_scored)
    assert np.abs(scaled.images['bicubic'][:, 0] - scaled.images['bicubic'][:, 2]).max() > 0.5
    np.testing.assert_allclose(made[:, 0], made[:, 2], atol=1e-4)
    np.testing.assert_allclose(made.std(axis=(2, 4, 5)), 1, atol=1e-4)


def test_matched_histograms_take_out_any_rising_curve(bench, scaled):
    scanner = bench.peer_methods.reference_scanner(scaled.protocols)
    reference = scaled.images['bicubic'][0, scanner]
    scans = scaled.images['bicubic'].copy()
    for s in range(3):
        scans[0, s] = reference ** (1 + (s - scanner) % 3)
    made = bench.peer_methods.histograms_matched(replace(scaled, images={'bicubic': scans}))
    for s in range(3):
        np.testing.assert_allclose(made[0, s], reference, rtol=1e-5)


def test_the_reference_has_the_smallest_voxel(bench):
    scanners = [protocol(2.0, thickness=2.0), protocol(1.8, thickness=3.0), protocol(1.9)]
    assert bench.peer_methods.reference_scanner(scanners) == 0


def protocol(pixel, **more):
    return Protocol(Contrast(3.0, 0.08, 8.0), pixel=pixel, readout_decay=0.0, **more)


@pytest.mark.parametrize(
    ('what', 'rows', 'columns'),
    [
        (protocol(2.0), 2.42, 2.42),
        (protocol(2.0, phase_resolution=0.5), 4.83, 2.42),
        (protocol(2.0, phase_resolution=0.5, turned=True), 2.42, 4.83),
    ],
)
def test_the_resolution_of_a_scanner_is_that_of_its_lines(bench, what, rows, columns):
    np.testing.assert_allclose(bench.peer_methods.scanner_fwhm(what), (rows, columns), atol=0.02)


def test_blurring_to_the_worst_makes_resolutions_equal(bench):
    point = np.zeros((1, 41, 41))
    point[0, 20, 20] = 1
    fine, coarse, worst = np.array([2.5, 3.0]), np.array([4.0, 3.5]), np.array([5.0, 5.0])
    nothing = np.zeros(2)
    made = [
        bench.peer_methods.blurred_to(
            bench.peer_methods.blurred_to(point, nothing, own), own, worst
        )
        for own in (fine, coarse)
    ]
    np.testing.assert_allclose(*made, atol=2e-4)
    assert made[0][0, 20, 18] > 0.5 * made[0].max() > made[0][0, 20, 17]  # half at 2.5 mm


def test_the_worst_scanner_stays_as_it_is(bench, scaled):
    scanners = [protocol(1.5), protocol(3.0), protocol(2.0)]
    alike = np.repeat(scaled.images['bicubic'][:, :1], 3, axis=1)
    cohort = replace(scaled, protocols=scanners, images={'bicubic': alike})
    made = bench.peer_methods.blurred_to_worst(cohort)
    changed = np.abs(made - cohort.images['bicubic']).max(axis=(0, 2, 3, 4, 5))
    assert changed[1] == 0
    assert changed[0] > changed[2] > 0.01


def test_as_coarse_is_as_coarse_as_the_worst_scanner(bench, scaled):
    cohort = replace(scaled, protocols=[protocol(1.5), protocol(3.0), protocol(2.0)])
    cohort.images['bidsharmony'] = scaled.images['bicubic']
    widths = np.full(2, 2.0), np.full(2, 3.0 * 1.207)
    expected = bench.peer_methods.blurred_to(scaled.images['bicubic'], *widths)
    made = bench.peer_methods.as_coarse(cohort, 2.0)
    np.testing.assert_allclose(made, expected, atol=0.02)


def test_images_without_a_unit_get_that_of_the_truth(bench, scaled):
    truth = np.repeat(scaled.truth[:, None], 3, axis=1)
    (made,) = bench.peer_methods.in_truths_unit([scaled], [3 * truth - 7])
    np.testing.assert_allclose(made, truth, atol=1e-4)


def test_rish_scales_energies_and_keeps_directions(bench, rng):
    """A scanner that weakens each degree is undone, at directions of its own."""
    coefs = 0.1 * rng.standard_normal((30, 15))
    coefs[:, 0] = 1.5
    weaker = np.array([0.9, 0.5, 0.7])
    ours, theirs = gradient_directions(24), gradient_directions(30)
    basis, degrees = bench.rish.harmonics(ours)
    other, _ = bench.rish.harmonics(theirs)
    signal = (coefs * weaker[degrees // 2]) @ basis.T
    energy = bench.rish.energies(bench.rish.coefficients(signal, ours))
    reference = bench.rish.energies(bench.rish.coefficients(coefs @ other.T, theirs))
    scales = np.sqrt(reference / energy)
    np.testing.assert_allclose(scales, np.broadcast_to(1 / weaker, (30, 3)), rtol=1e-6)
    made = bench.rish.rescaled(signal, ours, scales)
    np.testing.assert_allclose(made, coefs @ basis.T, atol=1e-9)


def test_rish_features_know_no_rotation(bench):
    directions = gradient_directions(24)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    tensor = np.diag([1.7e-3, 0.3e-3, 0.3e-3])
    signals = [
        np.exp(-1000 * np.einsum('ni,ij,nj->n', directions, t, directions))[None]
        for t in (tensor, turn @ tensor @ turn.T)
    ]
    first, second = (
        bench.rish.energies(bench.rish.coefficients(signal, directions)) for signal in signals
    )
    np.testing.assert_allclose(first[:, :2], second[:, :2], rtol=5e-3)
    made = [bench.rish.rescaled(s, directions, np.ones((1, 3))) for s in signals]
    fa = [fit_tensors(m, np.full(24, 1000.0), directions).fa[0] for m in made]
    assert fa[0] == pytest.approx(fa[1], abs=0.01)


@pytest.fixture(scope='module')
def measured(bench):
    """Return figures of the identity, the destroyer and the truth itself on simulated balls."""
    heads = [Head('one', ball().codes), Head('two', ball(radius=52).codes)]
    protocols = held_out_scanners(np.random.default_rng(3))
    cohort = bench.cohort.simulate(heads, protocols, 2, seed=1)
    methods = bench.peer_methods.methods(None)
    found, before = {}, None
    for name in ('identity', 'destroyer', 'bidsharmony'):
        if name == 'bidsharmony':  # a perfect one
            made = np.repeat(cohort.truth[:, None], len(protocols), axis=1)
        else:
            made = methods[name].make(cohort, np.random.default_rng(5))
        only = replace(cohort, images={'bicubic': made})
        figures, features = bench.peers.measure([only], methods[name], 7.0, 0.25, 10, before)
        before = features if before is None else before
        figures['fails'] = bench.peers.failures(figures, found.get('identity', figures))
        found[name] = figures
    return found


def test_the_destroyer_fails_where_it_should(measured):
    assert measured['identity']['fails'] == measured['bidsharmony']['fails'] == []
    fails = set(measured['destroyer']['fails'])
    assert {'psnr_trace', 'ssim_b0', 'ssim_trace', 'dice_adc_dark', 'dice_trace_bright'} <= fails
    hidden, seen = (measured[m]['probe_retrained']['value'] for m in ('destroyer', 'identity'))
    assert hidden < 0.35 < seen


def test_nothing_remains_of_the_scanner_in_the_truth(bench, measured):
    for row in bench.peers.half_of_best(measured):
        assert row['ours'] == pytest.approx(0, abs=1e-6), row
        assert row['best_any'] == 'identity'  # the control is no peer
        assert row['at_most_half_of_any']
    assert measured['identity']['eta2_above_chance']['value'] > 0.1
    assert measured['identity']['seconds_per_run'] == 0.5


@pytest.mark.parametrize('drawn', [None, [0, 0, 0, 1, 2, 3]])
def test_shuffled_scanners_are_at_chance(bench, rng, drawn):
    """Heads differ, scanners do not; a head drawn three times is no three heads."""
    values = 3 * rng.standard_normal((6, 1, 4000)) + rng.standard_normal((6, 7, 4000))
    assert bench.peers.eta2_above_chance(values, drawn) == pytest.approx(0, abs=2e-3)
    marked = values + np.arange(7)[:, None]
    assert bench.peers.eta2_above_chance(marked, drawn) > 0.1


def test_half_of_the_best_peer_that_passes(bench):
    def figures(remains, fails):
        return {'fails': fails, **{key: {'value': remains} for key in bench.peers.REMAINING}}

    found = {
        'identity': figures(0.9, []),
        'careful': figures(0.5, []),
        'careless': figures(0.3, ['psnr_b0']),
        'destroyer': figures(-0.1, ['psnr_b0']),
        'bidsharmony': figures(0.2, []),
        'bidsharmony, as coarse': figures(0.1, ['psnr_b0']),
    }
    for row in bench.peers.half_of_best(found):
        assert (row['best_passing'], row['at_most_half_of_passing']) == ('careful', True)
        assert (row['best_any'], row['at_most_half_of_any']) == ('careless', False)
        assert row['ours_as_coarse'] == 0.1


def test_a_box_goes_round_the_brain_of_any_size(bench):
    """Two heads of one shape and different size meet on the grid."""
    grid = np.indices((208, 208))
    met = []
    for half, size in ((40, 208), (60, 104)):
        brain = (np.abs(grid - 103.5) < half).all(axis=0)[..., None]
        place = (np.indices((size, size)) + 0.5) * 208 / size - 104
        met.append(bench.peer_series.boxed((place[0] / half)[..., None], brain))
    np.testing.assert_allclose(*met, atol=1e-6)
    assert met[0].shape == (*bench.peer_series.GRID, 1)


def test_nyul_takes_out_scale_and_offset(bench, scaled):
    pytest.importorskip('intensity_normalization', reason=MISSING)
    made = bench.peer_methods.nyul(scaled)
    np.testing.assert_allclose(made[:, 0], made[:, 2], atol=0.02)


def test_white_stripe_takes_out_scale_and_offset(bench, scaled):
    pytest.importorskip('intensity_normalization', reason=MISSING)
    made = bench.peer_methods.by_run(scaled, bench.peer_methods.white_striped)
    np.testing.assert_allclose(made[:, 0], made[:, 2], atol=0.02)


def test_combat_takes_out_a_shift(bench, rng):
    pytest.importorskip('neuroHarmonize', reason=MISSING)
    heads = rng.standard_normal((6, 1, 40)) + 5
    maps = heads + 0.1 * rng.standard_normal((6, 3, 40))
    maps[:, 2] += 1
    made = bench.combat.combat(maps)
    assert np.ptp(maps.mean(axis=(0, 2))) > 0.9
    assert np.ptp(made.mean(axis=(0, 2))) < 0.1


def test_combat_moves_the_voxels_of_a_region_together(bench, rng):
    pytest.importorskip('neuroHarmonize', reason=MISSING)
    maps = 5 + rng.standard_normal((6, 1, 40)) + 0.1 * rng.standard_normal((6, 3, 40))
    maps[:, 2] += 1
    white = np.ones((6, 40), bool)
    white[:, ::7] = False
    regions = np.arange(40) // 10
    made = bench.combat.combat_by_region(maps, white, regions)
    np.testing.assert_array_equal(made[:, :, ::7], maps[:, :, ::7])
    means = np.stack([made[:, :, white[0] & (regions == r)].mean(axis=2) for r in range(4)])
    assert np.ptp(means.mean(axis=(0, 1))) < 0.1
    ratio = (made / maps)[0, 0, [1, 2, 3]]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    assert abs(ratio[0] - 1) > 0.01


def test_the_tables_of_the_documentation_are_those_that_were_measured(bench, repository):
    document = json.loads((repository / 'benchmarks' / 'peers.json').read_text())
    folder = repository / 'docs' / '_static' / 'peers'
    assert document['simulated'] is True
    assert document['methods']['destroyer']['fails']
    tables = bench.peers.tables_of(document)
    assert set(tables) == {'fidelity', 'scanner', 'remaining', 'series'}
    for name, rows in tables.items():
        with (folder / f'{name}.csv').open(newline='', encoding='utf-8') as file:
            assert list(csv.reader(file)) == rows
