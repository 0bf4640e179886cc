"""bidsharmony: take the scanner out of diffusion MRI."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bidsharmony.api import Harmonized, ScanHarmonizer, harmonize

__all__ = ['Harmonized', 'ScanHarmonizer', '__version__', 'harmonize']

__version__ = '0.1.0'

_FROM_API = ('Harmonized', 'ScanHarmonizer', 'harmonize')


def __getattr__(name: str) -> object:
    """Import the API when it is first asked for: torch takes seconds, and `--help` needs none."""
    if name in _FROM_API:
        from bidsharmony import api

        return getattr(api, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    """List what is there, imported or not."""
    return sorted({*globals(), *__all__})
