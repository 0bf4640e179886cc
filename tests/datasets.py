"""Small BIDS datasets for tests, from a mapping of paths to contents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DESCRIPTION = {'Name': 'small', 'BIDSVersion': '1.10.0', 'License': 'CC0'}
GRADIENTS = {'dwi.bval': '0 1000\n', 'dwi.bvec': '0 1\n0 0\n0 0\n'}


def write_dataset(root: Path, files: Mapping[str, Any], *, gradients: bool = True) -> Path:
    """Write a dataset; images are empty, since no search may open one.

    Parameters
    ----------
    root : Path
        where to write it
    files : mapping
        path to text, to an object that is written as JSON, or to a Path that is linked to
    gradients : bool
        whether the root has a gradient table that every run inherits
    """
    described = {'dataset_description.json': DESCRIPTION, **(GRADIENTS if gradients else {})}
    for name, content in {**described, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        elif isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(content, encoding='utf-8')
        else:
            path.write_text(json.dumps(content), encoding='utf-8')
    return root
