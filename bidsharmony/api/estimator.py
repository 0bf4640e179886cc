"""Harmonize many scans by one method, as scikit-learn's transformers work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator, TransformerMixin

from bidsharmony.api.scan import Harmonized, harmonize
from bidsharmony.network.weights import Weights, load_weights


class ScanHarmonizer(TransformerMixin, BaseEstimator):
    """Hold one method for many scans, and harmonize each of them by itself.

    Nothing is learned from the scans: no matched subjects and no reference scanner are needed, so
    `fit` only reads the weights, and one scan is enough. That also means that nothing leaks from
    a training set to a test set.

    Parameters
    ----------
    bias_correction, strength, canonical_resolution, weights, threads
        See `harmonize`.

    Attributes
    ----------
    weights_ : Weights
        As read by `fit`.

    Examples
    --------
    >>> from bidsharmony import ScanHarmonizer
    >>> ScanHarmonizer(strength=0.5)
    ScanHarmonizer(strength=0.5)
    >>> harmonizer = ScanHarmonizer().fit()
    >>> harmonizer.weights_.fwhm_mm  # of the canonical images, mm
    2.0
    """

    def __init__(
        self,
        *,
        bias_correction: bool = True,
        strength: float = 1.0,
        canonical_resolution: float | None = None,
        weights: str | os.PathLike | None = None,
        threads: int = 1,
    ) -> None:
        self.bias_correction = bias_correction
        self.strength = strength
        self.canonical_resolution = canonical_resolution
        self.weights = weights
        self.threads = threads

    # scikit-learn takes any argument but X and y for metadata that is to be routed
    def fit(self, X: object = None, y: object = None) -> ScanHarmonizer:  # noqa: N803
        """Read the weights; `X` and `y` are there for pipelines and not looked at.

        Raises
        ------
        ValueError
            If the weights cannot be used.
        """
        self.weights_: Weights = load_weights(None if self.weights is None else Path(self.weights))
        return self

    def transform(self, X: Iterable[Mapping[str, Any]]) -> list[Harmonized]:  # noqa: N803
        """Harmonize scans, one after the other.

        Parameters
        ----------
        X : iterable of mapping
            What `harmonize` is told of each scan: ``b0``, ``trace``, ``metadata``, and where they
            are needed ``affine``, ``voxel_mm``, ``slice_axis``, ``mask`` and ``b_value``.

        Returns
        -------
        list of Harmonized

        Raises
        ------
        ValueError
            With the number of the scan, counted from 0.
        """
        if not hasattr(self, 'weights_'):
            self.fit()
        method = self.get_params() | {'weights': self.weights_}
        found = []
        for number, scan in enumerate(X):
            try:
                found.append(harmonize(**scan, **method))
            except (TypeError, ValueError) as error:
                raise ValueError(f'scan {number}: {error}') from error
        return found

    def __sklearn_is_fitted__(self) -> bool:
        """Nothing has to be learned before `transform`."""
        return True
