"""Charts show the numbers they were given."""

import numpy as np
import pytest

from bidsharmony.viz.figure import save_png
from bidsharmony.viz.glcm import by_distance, glcm_by_scanner, glcm_panel
from bidsharmony.viz.psd import half_amplitude_frequency, psd_by_scanner, psd_panel

FREQS = [0.0, 0.1, 0.2, 0.3]
SPECTRUM = {'b0': [4.0, 1.0, 0.1, 0.01], 'trace': [3.0, 1.0, 0.2, 0.05]}
SCANNERS = {f'scanner {index}': SPECTRUM['b0'] for index in range(12)}


def test_gaussian_of_canonical_width_has_half_amplitude_there():
    """The marked frequency is where the blur halves a sinusoid."""
    x = np.arange(-200, 200) * 0.05
    kernel = np.exp(-4 * np.log(2) * (x / 2.0) ** 2)
    wave = np.cos(2 * np.pi * half_amplitude_frequency(2.0) * x)
    assert (kernel * wave).sum() / kernel.sum() == pytest.approx(0.5, abs=1e-3)


def test_psd_panel_draws_both_sides_of_both_channels():
    """Two panels with the given values each, before and after."""
    after = {channel: [value / 2 for value in values] for channel, values in SPECTRUM.items()}
    figure = psd_panel(FREQS, SPECTRUM, after, 2.0)
    first = figure.axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in first.lines}
    np.testing.assert_array_equal(drawn['before'], SPECTRUM['b0'])
    np.testing.assert_array_equal(drawn['after'], after['b0'])
    assert 'canonical 2 mm' in first.texts[0].get_text()


@pytest.mark.parametrize('spectrum', [[0.0] * 4, [None, 1.0, 0.5, None], [np.nan] * 4])
@pytest.mark.parametrize('fwhm', [None, 0.0, 2.0, 0.1])
def test_spectra_without_power_are_drawn_empty(spectrum, fwhm):
    """No warning, no crash: the page of a bad run must come out too."""
    sides = {'b0': spectrum, 'trace': spectrum}
    assert save_png(psd_panel(FREQS, sides, sides, fwhm)).startswith(b'\x89PNG')


def test_many_scanners_keep_their_own_line():
    """Twelve scanners differ in colour or line style, and each is in the legend."""
    figure = psd_by_scanner(FREQS, SCANNERS, SCANNERS, channel='b0', fwhm=2.0)
    lines = figure.axes[0].lines[:12]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(SCANNERS)
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_legend_stays_inside_the_figure():
    """No label is cut at the edge, even the longest."""
    label = 'Manufacturer with a very long name and model 3 T and more words'
    spectra = {label: SPECTRUM['b0'], **SCANNERS}
    figure = psd_by_scanner(FREQS, spectra, spectra, channel='trace')
    save_png(figure, scale=1)
    box = figure.legends[0].get_window_extent()
    width, height = figure.canvas.get_width_height()
    assert box.x0 >= 0
    assert box.x1 <= width
    assert (
        0 <= box.y0 < box.y1 <= min(axes.get_tightbbox().y0 for axes in figure.axes) + 1 < height
    )


def test_distances_are_sorted_and_strange_keys_left_out():
    """Missing values become gaps."""
    table = by_distance({'energy_d4': 1.0, 'energy_d1': None, 'note': 3.0})
    assert list(table) == ['energy']
    assert list(table['energy']) == [1, 4]
    assert np.isnan(table['energy'][1])


def test_glcm_panel_has_one_panel_per_feature_and_a_key():
    """Seven features give seven panels."""
    features = {f'{name}_d{d}': float(d) for name in 'abcdefg' for d in (1, 2, 4)}
    sides = {'b0': features, 'trace': features}
    figure = glcm_panel(sides, sides)
    assert len(figure.axes) == 8
    assert [axes.get_title(loc='left') for axes in figure.axes[:7]] == list('abcdefg')
    save_png(figure)


def test_glcm_by_scanner_goes_from_before_to_after():
    """Each line starts at the scanner's mean before and ends at its mean after."""
    before = {'A': {'contrast_d1': 3.0}, 'B': {'contrast_d1': 5.0}}
    after = {'A': {'contrast_d1': 4.0}, 'B': {}}
    figure = glcm_by_scanner(before, after, channel='b0')
    ends = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert ends[0] == [3.0, 4.0]
    assert ends[1][0] == 5.0
    assert np.isnan(ends[1][1])


@pytest.mark.parametrize('draw', [lambda: glcm_panel({}, {}), lambda: psd_panel([], {}, {})])
def test_nothing_to_draw_is_no_error(draw):
    """An empty run gives an empty figure."""
    assert save_png(draw()).startswith(b'\x89PNG')


def band(low: float, high: float) -> dict:
    """Range of canonical images around what the tests draw."""
    spectra = {c: {'low': [low * v for v in s], 'high': [high * v for v in s]}
               for c, s in SPECTRUM.items()}  # fmt: skip
    textures = {f'contrast_d{d}': {'low': low * d, 'high': high * d} for d in (1, 2, 4)}
    return {'freqs_per_mm': FREQS, 'psd': spectra, 'glcm': {'b0': textures, 'trace': textures}}


def test_a_spectrum_lies_in_its_band():
    """The band is drawn where the range says, behind the curves, with its own legend."""
    axes = psd_panel(FREQS, SPECTRUM, SPECTRUM, 2.0, band(0.5, 2)).axes[0]
    (drawn,) = axes.collections
    corners = drawn.get_paths()[0].vertices
    at_one = corners[np.isclose(corners[:, 0], 0.1), 1]
    assert (at_one.min(), at_one.max()) == (0.5, 2.0)
    assert drawn.get_zorder() < axes.lines[0].get_zorder()
    assert 'canonical, simulated heads' in axes.get_legend_handles_labels()[1]


def test_textures_have_their_range_too():
    """Two bands a panel, and two more lines in the key; none without a range."""
    features = {c: {f'contrast_d{d}': 1.0 * d for d in (1, 2, 4)} for c in ('b0', 'trace')}
    with_range = glcm_panel(features, features, band(0.5, 2)['glcm'])
    axes, key = with_range.axes
    assert len(axes.collections) == 2
    corners = axes.collections[0].get_paths()[0].vertices
    at_four = corners[corners[:, 0] == 4, 1]
    assert (at_four.min(), at_four.max()) == (2.0, 8.0)
    assert len(key.get_legend().get_texts()) == 6
    without = glcm_panel(features, features)
    assert not without.axes[0].collections
    assert len(without.axes[1].get_legend().get_texts()) == 4
