"""Configuration of the documentation."""

import bidsharmony

project = 'bidsharmony'
author = 'The bidsharmony developers'
copyright = author
version = release = bidsharmony.__version__

extensions = ['sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinxarg.ext']
html_theme = 'furo'
html_title = f'bidsharmony {release}'
exclude_patterns = ['_build']
# `--option` and '{"dwi": ...}' are to be copied as they are
smartquotes = False

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
napoleon_google_docstring = False
