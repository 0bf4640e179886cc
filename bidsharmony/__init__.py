"""bidsharmony: take the scanner out of diffusion MRI."""

__version__ = '0.1.0'
