"""Write a document as the audit of the group level leaves it. The numbers are made up."""

from __future__ import annotations

from typing import Any

import numpy as np

SCANNERS = (
    'Siemens Prisma 3 T',
    'Philips Ingenia Elition X 3 T',
    'GE Discovery MR750 3 T',
    'Siemens Avanto 1.5 T',
    'Canon Vantage Galan 3 T',
    'GE Signa HDxt 1.5 T',
    'Philips Achieva dStream 1.5 T',
    'Siemens Skyra 3 T',
    'UIH uMR 790 3 T',
    'Siemens Magnetom Vida Fit 3 T',
)
SUBJECTS, SLICES = 10, 20
"""Per scanner; slices per subject."""


def scores(accuracy: float, n_scanners: int, *, trained: float, seed: int = 0) -> dict[str, Any]:
    """Write the scores of a probe that is right this often, and wrong anywhere."""
    rng = np.random.default_rng(seed)
    n = SUBJECTS * SLICES
    wrong = (1 - accuracy) / max(n_scanners - 1, 1)
    chances = np.full((n_scanners, n_scanners), wrong) + np.eye(n_scanners) * (accuracy - wrong)
    confusion = [rng.multinomial(n, row / row.sum()).tolist() for row in chances]
    return {
        'accuracy': accuracy,
        'balanced_accuracy': accuracy - 0.001,
        'precision': min(accuracy + 0.02, 1.0),
        'recall': accuracy - 0.001,
        'f1': accuracy - 0.01,
        'ci95': [max(accuracy - 0.04, 0.0), min(accuracy + 0.03, 1.0)],
        'training_accuracy': trained,
        'n_slices': n * n_scanners,
        'n_subjects': SUBJECTS,
        'confusion': confusion,
    }


def probe(before: float, frozen: float, retrained: float, n_scanners: int) -> dict[str, Any]:
    """Write the block of one model."""
    first = scores(before, n_scanners, trained=1.0)
    return {
        'frozen': {
            'before': first,
            'after': scores(frozen, n_scanners, trained=1.0, seed=1),
        },
        'retrained': {
            'before': first,
            'after': scores(retrained, n_scanners, trained=0.991, seed=2),
        },
        'mcnemar_p': {'frozen': 1e-120, 'retrained': 3.2e-88},
        'permutation_p': {'frozen': 0.001, 'retrained': 0.002},
    }


def points(n_scanners: int, apart: float, seed: int) -> list[list[float]]:
    """Scatter 60 points per scanner around centres that lie so far apart."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(n_scanners) / n_scanners
    centres = apart * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    found = np.repeat(centres, 60, axis=0) + rng.normal(size=(60 * n_scanners, 2)) * 4
    return np.round(found, 2).tolist()


def curves(speed: float, seed: int) -> list[list[float]]:
    """Let five seeds fall towards a floor at this speed."""
    rng = np.random.default_rng(seed)
    x = np.arange(50, 2001, 50)
    return [
        np.round(0.02 + 0.3 * np.exp(-x * speed * rate / 600), 5).tolist()
        for rate in rng.normal(1, 0.06, 5)
    ]


def nothing(n_scanners: int = 7) -> dict[str, Any]:
    """Write the document of a study of which nothing was audited."""
    n_runs = SUBJECTS * n_scanners
    return {
        'version': 1,
        'audit': 'none',
        'n_runs': n_runs,
        'n_subjects': SUBJECTS,
        'n_scanners': n_scanners,
        'n_sampled_runs': 0,
        'n_slices': 0,
        'chance': 1 / n_scanners,
        'grouping': {
            'rule': 'manufacturer, model and field strength',
            'scanners': [
                {
                    'scanner': label,
                    'n_runs': SUBJECTS,
                    'n_subjects': SUBJECTS,
                    'n_slices': 0,
                    'names': [label],
                }
                for label in SCANNERS[:n_scanners]
            ],
        },
        'outliers': [],
        'not_run': [
            {'what': 'audit', 'reason': 'left out by --audit none'},
        ],
        'not_counted': [],
    }


def full(n_scanners: int = 7) -> dict[str, Any]:
    """Write the document of a study of which all could be audited."""
    document = nothing(n_scanners)
    labels = list(SCANNERS[:n_scanners])
    for row in document['grouping']['scanners']:
        row['n_slices'] = SUBJECTS * SLICES
    document['grouping']['scanners'][0]['names'] = ['SIEMENS Prisma_fit', 'Siemens Prisma']
    pair = {'before': 0.41, 'after': 0.06}
    return document | {
        'audit': 'full',
        'n_sampled_runs': SUBJECTS * n_scanners,
        'n_slices': SUBJECTS * SLICES * n_scanners,
        'scanner_id': {
            'model': 'ResNet-50',
            'scanners': labels,
            **probe(0.957, 0.312, 0.388, n_scanners),
            'forest': probe(0.93, 0.25, 0.36, n_scanners),
        },
        'embedding': {
            'features': 'ResNet-50, penultimate layer',
            'silhouette': {'before': 0.52, 'after': 0.03},
            'points': {
                'scanner': np.repeat(np.arange(n_scanners), 60).tolist(),
                'before': points(n_scanners, 26.0, 0),
                'after': points(n_scanners, 3.0, 1),
            },
        },
        'texture': {
            'eta2': pair,
            'chance': 0.087,
            'by_channel': {
                'b0': {'before': 0.45, 'after': 0.05},
                'trace': {'before': 0.37, 'after': 0.07},
            },
        },
        'frequency': {
            'log_spectral_distance_db': {'before': 3.214, 'after': 0.871},
            'limit_per_mm': 0.25,
            'by_channel': {
                'b0': {'before': 3.4, 'after': 0.8},
                'trace': {'before': 3.03, 'after': 0.94},
            },
        },
        'autoencoder': {
            'iterations': {'before': 900.0, 'after': 430.0},
            'ratio': 0.478,
            'ratio_ci95': [0.44, 0.53],
            'seeds': 5,
            'loss': 0.09,
            'curves': {
                'iterations': list(range(50, 2001, 50)),
                'before': curves(1.0, 0),
                'after': curves(2.1, 1),
            },
        },
        'lesions': {
            'n_runs': 42,
            'n_lesions': 84,
            'dice': {
                'trace_bright': {'median': 0.934, 'worst_decile': 0.812, 'n': 80},
                'adc_dark': {'median': 0.912, 'worst_decile': 0.765, 'n': 61},
            },
            'cnr': {
                'b0': {'before': 1.11, 'after': 1.15},
                'trace': {'before': 4.02, 'after': 4.21},
                'adc': {'before': -2.2, 'after': -2.31},
            },
            'by_size': [
                {'from_ml': 0.0, 'to_ml': 1.0, 'n': 31, 'dice_trace_bright': 0.87,
                 'dice_adc_dark': 0.84},
                {'from_ml': 1.0, 'to_ml': 10.0, 'n': 40, 'dice_trace_bright': 0.94,
                 'dice_adc_dark': 0.92},
                {'from_ml': 10.0, 'to_ml': None, 'n': 13, 'dice_trace_bright': 0.97,
                 'dice_adc_dark': None},
            ],
        },
        'covariates': [
            {'name': 'age', 'kind': 'number', 'measure': 'spearman correlation', 'before': 0.61,
             'after': 0.66, 'before_ci95': [0.4, 0.75], 'after_ci95': [0.47, 0.79],
             'change': 0.05, 'change_ci95': [-0.03, 0.14], 'kept': True, 'n_subjects': 70},
            {'name': 'diagnosis', 'kind': 'category', 'measure': 'balanced accuracy',
             'before': 0.81, 'after': 0.7, 'before_ci95': [0.72, 0.9],
             'after_ci95': [0.6, 0.79], 'change': -0.11, 'change_ci95': [-0.19, -0.02],
             'kept': False, 'n_subjects': 68},
        ],
        'negative_control': {
            'scanner': 'Siemens Prisma 3 T', 'accuracy': 0.53, 'ci95': [0.42, 0.64],
            'chance': 0.5, 'limit': 0.5, 'passes': True, 'n_slices': 200,
        },
        'outliers': [
            {'run': 'sub-03_dir-AP', 'scanner': 'GE Discovery MR750 3 T',
             'reason': 'SNR of b = 0 is 6.1, 4.2 robust deviations below the scanner\'s median'},
        ],
        'not_run': [],
    }  # fmt: skip


def quick(n_scanners: int = 7) -> dict[str, Any]:
    """Write the document of an audit without networks."""
    document = full(n_scanners)
    forest = {key: document['scanner_id'][key] for key in ('scanners', 'forest')}
    reason = 'left out by --audit quick'
    return document | {
        'audit': 'quick',
        'scanner_id': forest,
        'embedding': document['embedding'] | {'features': 'spectrum, texture and histogram'},
        'autoencoder': None,
        'lesions': None,
        'covariates': None,
        'not_run': [
            {'what': 'scanner_id (deep network)', 'reason': reason},
            {'what': 'autoencoder', 'reason': reason},
            {'what': 'lesions', 'reason': 'no run has a lesion mask'},
            {'what': 'covariates', 'reason': 'no participants.tsv'},
        ],
    }


def uncounted() -> dict[str, Any]:
    """Write the document of an audit whose deep probe was not trained well."""
    return full() | {
        'not_counted': [
            {
                'what': 'scanner_id',
                'reason': 'retrained, it names the scanner of 91 % of the slices that it learned '
                'from, below 98 %',
            },
            {
                'what': 'covariates: age',
                'reason': 'it could not be told from the images before harmonization either',
            },
        ],
    }


def one_scanner() -> dict[str, Any]:
    """Write the document of a study of one scanner: hardly anything can be said."""
    reason = 'only one scanner has 3 subjects or more'
    return nothing(1) | {
        'not_run': [
            {'what': what, 'reason': reason}
            for what in ('scanner_id', 'embedding', 'texture', 'frequency')
        ],
        'audit': 'standard',
        'chance': None,
        'negative_control': full()['negative_control'] | {'accuracy': 0.71, 'ci95': [0.6, 0.8],
                                                          'passes': False},
    }  # fmt: skip
