"""Configuration of the documentation."""

import bidsharmony

project = 'bidsharmony'
author = 'The bidsharmony developers'
copyright = author
version = release = bidsharmony.__version__

extensions = ['sphinx.ext.autodoc', 'sphinx.ext.napoleon']
html_theme = 'furo'
html_title = f'bidsharmony {release}'
exclude_patterns = ['_build']

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
napoleon_google_docstring = False
