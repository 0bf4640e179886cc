"""Name, describe and fill the columns of the group tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bidsharmony.evaluation.summary import (
    CHANNELS,
    SIDES,
    GroupSummary,
    median_frequency,
    numeric,
)

FEATURES = {
    'contrast': 'mean squared difference of grey levels',
    'dissimilarity': 'mean absolute difference of grey levels',
    'homogeneity': 'inverse difference moment',
    'ASM': 'angular second moment',
    'energy': 'square root of the angular second moment',
    'correlation': 'correlation of grey levels',
    'entropy': 'entropy of the co-occurrence matrix',
}
DISTANCES = (1, 2, 4)
LESION_RULES = {'trace_bright': 'bright on the trace', 'adc_dark': 'dark on the ADC'}
CHANNEL_NAMES = {'b0': 'b=0 image', 'trace': 'trace-weighted image'}
TRACE_METHODS = {
    'tensor': 'from tensors fitted to that shell',
    'geometric': 'geometric mean of the volumes of that shell, or the trace image of the scanner',
}
ANSWERS = {'true': 'yes', 'false': 'no'}
DIMENSIONLESS = '1'
"""Units of counts and ratios, as UCUM writes them: what has none might have been forgotten."""


@dataclass(frozen=True)
class Column:
    """One column of a table: its name, what it says and where its value stands in qc.json."""

    name: str
    description: str
    units: str
    read: Callable[[Mapping[str, Any]], Any]
    levels: Mapping[str, str] | None = None


def _number(name: str, description: str, units: str, *keys: str) -> Column:
    return Column(name, description, units or DIMENSIONLESS, lambda qc: numeric(qc, *keys))


def _word(
    name: str, description: str, *keys: str, levels: Mapping[str, str] | None = None
) -> Column:
    def read(qc: Any) -> Any:
        for key in keys:
            qc = qc.get(key) if isinstance(qc, Mapping) else None
        return qc if isinstance(qc, str | bool) else None

    return Column(name, description, '', read, levels)


def _spectral(channel: str, side: str) -> Column:
    def read(qc: Mapping[str, Any]) -> float | None:
        try:
            value = median_frequency(qc['psd']['freqs_per_mm'], qc['psd'][channel][side])
        except (KeyError, TypeError, ValueError):
            return None
        return numeric(value)

    return Column(
        f'psd_{channel}_{side}_median_frequency',
        f'frequency below which half of the power of the {CHANNEL_NAMES[channel]} lies, {side}',
        '1/mm',
        read,
    )


def _prefixed(name: str, prefix: str, *keys: str) -> Column:
    column = _word(name, f'BIDS label, {prefix}<label>', *keys)

    def read(qc: Mapping[str, Any]) -> str | None:
        label = column.read(qc)
        return f'{prefix}{label}' if label else None

    return Column(name, column.description, '', read)


# averaged per scanner
FIGURES = (
    _number('snr_b0', 'signal-to-noise ratio of the mean b=0', '', 'summary', 'snr_b0'),
    _number('adc_before', 'median ADC in the brain, input', 'mm^2/s', 'adc', 'before_median'),
    _number('adc_after', 'median ADC in the brain, canonical', 'mm^2/s', 'adc', 'after_median'),
    _number('gain_median', 'median gain x robust scale', '', 'gain', 'median'),
    _number('bias_cv_before', 'variation of b=0 in the brain before bias correction', '',
            'bias', 'cv_before'),
    _number('bias_cv_after', 'variation of b=0 in the brain after bias correction', '',
            'bias', 'cv_after'),
    *(_spectral(channel, side) for channel in CHANNELS for side in SIDES),
    *(
        _number(
            f'glcm_{channel}_{side}_{feature}_d{distance}',
            f'GLCM {feature} ({text}) at {distance} pixels, {CHANNEL_NAMES[channel]}, {side}',
            '',
            'glcm', channel, side, f'{feature}_d{distance}',
        )
        for channel in CHANNELS
        for side in SIDES
        for distance in DISTANCES
        for feature, text in FEATURES.items()
    ),
)  # fmt: skip

RUN_COLUMNS = (
    _word('run', 'entities of the input image', 'run'),
    _prefixed('participant_id', 'sub-', 'subject'),
    _prefixed('session_id', 'ses-', 'session'),
    _word('scanner', 'manufacturer, model and field strength, spelling normalised',
          'scanner', 'label'),
    _number('field_strength', 'field strength', 'T', 'scanner', 'field_strength'),
    _number('n_volumes', 'volumes of the series', '', 'input', 'n_volumes'),
    _number('n_b0', 'volumes at b=0', '', 'input', 'n_b0'),
    _number('b_acquired', 'b-value of the shell that the trace image stems from', 's/mm^2',
            'summary', 'b_acquired'),
    _number('n_directions', 'directions on that shell', '', 'summary', 'n_directions'),
    _word('trace_method', 'how the trace image was made of that shell',
          'summary', 'trace_method', levels=TRACE_METHODS),
    _word('extrapolated', 'whether that shell lies outside 800-1200 s/mm^2',
          'summary', 'extrapolated', levels=ANSWERS),
    _number('mask_volume', 'volume of the brain mask', 'ml', 'summary', 'mask_volume_ml'),
    _number('max_ratio_change', 'largest relative change of S_b/S_0 in the brain', '',
            'guarantee', 'max_ratio_change'),
    _number('canonical_fwhm', 'in-plane resolution of the canonical images', 'mm',
            'network', 'canonical_fwhm_mm'),
    _number('lesion_volume', 'volume of the lesions that masks mark in the brain', 'ml',
            'lesions', 'volume_ml'),
    *(
        _number(f'lesion_trace_cnr_{side}', f'contrast-to-noise of the lesions, trace, {side}', '',
                'lesions', 'contrast_to_noise', 'trace', side)
        for side in SIDES
    ),
    *(
        _number(f'lesion_{rule}_dice', f'Dice of lesions after against before, found as {text}',
                '', 'lesions', 'dice', rule, 'before_after')
        for rule, text in LESION_RULES.items()
    ),
    Column('n_warnings', 'warnings on the participant page', DIMENSIONLESS,
           lambda qc: len(qc.get('warnings') or ())),
    *FIGURES,
)  # fmt: skip

SCANNER_FIXED = {
    'scanner': ('manufacturer, model and field strength, spelling normalised', ''),
    'manufacturer': ('manufacturer, spelling normalised', ''),
    'model': ('model, spelling normalised', ''),
    'field_strength': ('field strength', 'T'),
    'n_runs': ('runs', DIMENSIONLESS),
    'n_subjects': ('subjects', DIMENSIONLESS),
    'n_warnings': ('warnings of these runs', DIMENSIONLESS),
    **{
        f'psd_{channel}_{side}_distance': (
            f'log-spectral distance of the mean spectrum of the {CHANNEL_NAMES[channel]} to the '
            f'mean of all scanners, {side}',
            'dB',
        )
        for channel in CHANNELS
        for side in SIDES
    },
}


def run_row(qc: Mapping[str, Any]) -> dict[str, Any]:
    """Fill one row of ``group_runs.tsv``.

    Examples
    --------
    >>> row = run_row({'run': 'sub-01', 'subject': '01', 'summary': {'snr_b0': 20.5}})
    >>> row['participant_id'], row['snr_b0'], row['adc_after']
    ('sub-01', 20.5, None)
    """
    return {column.name: column.read(qc) for column in RUN_COLUMNS}


def figures_of(row: Mapping[str, Any]) -> dict[str, float | None]:
    """Pick the figures of a run's row that are averaged per scanner."""
    return {column.name: row[column.name] for column in FIGURES}


def scanner_rows(summary: GroupSummary) -> Iterator[dict[str, Any]]:
    """Fill the rows of ``group_scanners.tsv``, scanners with most runs first."""
    distances = {
        f'psd_{channel}_{side}_distance': summary.spectral_distance(channel, side)
        for channel in CHANNELS
        for side in SIDES
    }
    for scanner in summary.ordered():
        row: dict[str, Any] = {
            'scanner': scanner.label,
            'manufacturer': scanner.manufacturer,
            'model': scanner.model,
            'field_strength': scanner.field_strength,
            'n_runs': scanner.n_runs,
            'n_subjects': len(scanner.subjects),
            'n_warnings': scanner.n_warnings,
        }
        row |= {name: values.get(scanner.label) for name, values in distances.items()}
        for column in FIGURES:
            moments = scanner.figures.get(column.name)
            row[f'{column.name}_mean'] = moments.mean if moments else None
            row[f'{column.name}_sd'] = moments.sd if moments else None
        yield row


def run_dictionary(rule: str = '') -> dict[str, dict[str, Any]]:
    """Describe the columns of ``group_runs.tsv`` as BIDS does in the sidecar of a table.

    Parameters
    ----------
    rule : str
        what the name of a scanner is made of, if not of maker, model and field strength

    Examples
    --------
    >>> run_dictionary()['adc_after']['Units']
    'mm^2/s'
    """
    found = {
        column.name: _described(column.description, column.units, column.levels)
        for column in RUN_COLUMNS
    }
    return found | ({'scanner': _described(rule, '')} if rule else {})


def scanner_dictionary(rule: str = '') -> dict[str, dict[str, Any]]:
    """Describe the columns of ``group_scanners.tsv``; for ``rule`` see `run_dictionary`."""
    fixed = {name: _described(*entry) for name, entry in SCANNER_FIXED.items()}
    fixed |= {'scanner': _described(rule, '')} if rule else {}
    figures = {
        f'{column.name}_{suffix}': _described(
            f'{word} over runs: {column.description}', column.units
        )
        for column in FIGURES
        for suffix, word in (('mean', 'mean'), ('sd', 'standard deviation'))
    }
    return fixed | figures


def cell(value: Any) -> str:
    """Write one value of a BIDS table: n/a for none, six digits, no tab or line break.

    Examples
    --------
    >>> [cell(value) for value in (None, float('nan'), True, 3, 0.123456789, 'a\\tb')]
    ['n/a', 'n/a', 'true', '3', '0.123457', 'a b']
    """
    if value is None or value == '' or value != value:
        return 'n/a'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f'{value:.6g}'
    return ' '.join(''.join(char if char.isprintable() else ' ' for char in str(value)).split())


def _described(
    description: str, units: str, levels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    described: dict[str, Any] = {'Description': description}
    if units:
        described['Units'] = units
    if levels:
        described['Levels'] = dict(levels)
    return described
