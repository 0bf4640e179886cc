"""Harmonize arrays and nibabel images, for those who need no BIDS dataset."""

from bidsharmony.api.estimator import ScanHarmonizer
from bidsharmony.api.scan import Harmonized, harmonize

__all__ = ['Harmonized', 'ScanHarmonizer', 'harmonize']
