"""Show whether the slices of one scanner lie together: t-SNE, and the silhouette."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bidsharmony.audit.scores import Probe

MOST_POINTS = 700

COMPONENTS = 50
"""Principal components that are kept, as is usual before t-SNE (van der Maaten 2008)."""

PERPLEXITY = 30.0


def embedding(probe: Probe, *, seed: int = 0) -> dict[str, Any] | str:
    """Lay slices out in the plane by their features, before and after.

    Features are standardised, each side by its own mean and deviation, and reduced to their
    first `COMPONENTS` principal components. The silhouette (Rousseeuw 1987) is taken there, not in
    the plane of t-SNE, which tears and packs clusters as it pleases.

    Parameters
    ----------
    probe : Probe
    seed : int

    Returns
    -------
    dict or str
        ``features``, ``silhouette`` and ``points``: at most `MOST_POINTS`, as many of each scanner
        as possible; or why it cannot be done.
    """
    scanners = probe.before.scanners
    chosen = balanced_positions(scanners, MOST_POINTS)
    if len(chosen) <= len(np.unique(scanners)):
        return 'one slice of each scanner was asked about: more are needed'
    sides = {'before': probe.features_before, 'after': probe.features_after}
    silhouette, points = {}, {}
    # sums of several threads differ in their last digit, and t-SNE makes much of it
    with threadpool_limits(1):
        for side, features in sides.items():
            reduced = _reduced(features[chosen], seed)
            silhouette[side] = float(silhouette_score(reduced, scanners[chosen]))
            plane = TSNE(
                perplexity=min(PERPLEXITY, (len(chosen) - 1) / 3),
                init='pca',
                learning_rate='auto',
                random_state=seed,
            ).fit_transform(reduced)
            points[side] = np.round(plane, 2).tolist()
    return {
        'features': probe.features,
        'silhouette': silhouette,
        'points': {'scanner': scanners[chosen].tolist(), **points},
    }


def balanced_positions(labels: np.ndarray, most: int) -> np.ndarray:
    """Choose positions at equal distances within each label, as many of each as possible.

    Examples
    --------
    >>> balanced_positions(np.array([0, 0, 0, 0, 1, 1]), 4).tolist()
    [0, 3, 4, 5]
    """
    by_label = [np.flatnonzero(labels == one) for one in np.unique(labels)]
    each = max(most // max(len(by_label), 1), 1)
    chosen = [
        positions[
            np.rint(np.linspace(0, len(positions) - 1, min(each, len(positions)))).astype(int)
        ]
        for positions in by_label
    ]
    return np.sort(np.concatenate(chosen))


def _reduced(features: np.ndarray, seed: int) -> np.ndarray:
    """Standardise features and keep their first principal components; (n, k) float32."""
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    count = min(COMPONENTS, *scaled.shape)
    return PCA(count, svd_solver='full', random_state=seed).fit_transform(scaled)
