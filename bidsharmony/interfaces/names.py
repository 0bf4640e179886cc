"""The start of every output's name; apart from the sinks, so that no one loads nipype for it."""

from __future__ import annotations

import re
from pathlib import Path

_ENDING = re.compile(r'(_desc-[a-zA-Z0-9+]+)?_dwi$')


def output_stem(image: Path) -> str:
    """Give the start of every output's name: the input's entities, but for its ``desc-``.

    Examples
    --------
    >>> output_stem(Path('sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi.nii.gz'))
    'sub-01_space-ACPC'
    """
    return _ENDING.sub('', image.name.split('.')[0])
