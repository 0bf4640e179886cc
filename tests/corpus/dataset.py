"""A good dataset of two tiny heads, and the second of them, to be spoiled."""

from __future__ import annotations

import gzip
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from tests import tiny_dataset

GOOD = 'sub-01'
BVALS = (0, *[1000] * tiny_dataset.N_DIRECTIONS)


def write_good(root: Path) -> Path:
    """Write a dataset of one good run."""
    tiny_dataset.write_run(tiny_dataset.write_dataset(root), GOOD, seed=1)
    return root


@dataclass(frozen=True)
class Run:
    """Hold the run of a participant that something is done to."""

    root: Path
    participant: str = 'sub-02'

    @classmethod
    def write(cls, root: Path, participant: str = 'sub-02') -> Run:
        """Write a run that nothing is wrong with yet."""
        tiny_dataset.write_run(root, participant, seed=2)
        return cls(root, participant)

    @property
    def folder(self) -> Path:
        """Give the folder of images."""
        return self.root / self.participant / 'dwi'

    @property
    def image(self) -> Path:
        """Give the image."""
        return self.beside('.nii.gz')

    @property
    def relative(self) -> str:
        """Give the image's path in the dataset."""
        return self.image.relative_to(self.root).as_posix()

    @property
    def outside(self) -> Path:
        """Give a folder that is not of the dataset."""
        folder = self.root.parent / 'elsewhere'
        folder.mkdir(exist_ok=True)
        return folder

    def beside(self, ending: str) -> Path:
        """Give a file of the run, such as its ``.bval``."""
        return self.folder / f'{self.participant}_dwi{ending}'

    def named(self, name: str) -> Path:
        """Give a file of the folder; ``*`` stands for the participant."""
        return self.folder / name.replace('*', self.participant)

    def write_text(self, ending: str, text: str) -> None:
        """Replace a text file."""
        self.beside(ending).write_text(text, encoding='utf-8')

    def sidecar(self, _remove: tuple[str, ...] = (), **entries: Any) -> None:
        """Change entries of the sidecar."""
        kept = {k: v for k, v in tiny_dataset.SIDECAR.items() if k not in _remove}
        self.write_text('.json', json.dumps(kept | entries))

    def bvals(self, *values: Any) -> None:
        """Replace the b-values."""
        self.write_text('.bval', ' '.join(map(str, values)) + '\n')

    def bvecs(self) -> np.ndarray:
        """Read the b-vectors, (N, 3)."""
        return np.loadtxt(self.beside('.bvec')).T

    def set_bvecs(self, vectors: Any) -> None:
        """Write b-vectors, (N, 3), as three rows."""
        np.savetxt(self.beside('.bvec'), np.transpose(vectors), fmt='%g')

    def rename(self, name: str) -> str:
        """Give the image, and what goes with it, another name; give its new path."""
        for ending in ('.nii.gz', '.bval', '.bvec', '.json'):
            self.beside(ending).rename(self.named(name + ending))
        return self.named(f'{name}.nii.gz').relative_to(self.root).as_posix()

    def content(self) -> bytearray:
        """Decompress the image."""
        return bytearray(gzip.decompress(self.image.read_bytes()))

    def save(self, content: bytes | bytearray) -> None:
        """Compress other bytes under the image's name."""
        self.image.write_bytes(gzip.compress(bytes(content), 1, mtime=0))

    def header(self, **fields: Any) -> None:
        """Write fields of the header as they are, past every check."""
        content = self.content()
        fields_of = np.ndarray((), nb.Nifti1Header.template_dtype, content)
        for key, value in fields.items():
            fields_of[key] = value
        self.save(content)

    def header_items(self, key: str, values: dict[int, float]) -> None:
        """Write items of a field of the header that holds several."""
        content = self.content()
        fields_of = np.ndarray((), nb.Nifti1Header.template_dtype, content)
        for ix, value in values.items():
            fields_of[key][ix] = value
        self.save(content)

    def sform(self, matrix: Any) -> None:
        """Write the sform past every check."""
        rows = np.asarray(matrix, np.float32)
        self.header(srow_x=rows[0], srow_y=rows[1], srow_z=rows[2])

    def array(self) -> np.ndarray:
        """Read the voxels, (I, J, K, N)."""
        return np.asarray(nb.load(self.image).dataobj).copy()

    def set_array(self, data: np.ndarray) -> None:
        """Write other voxels on the same grid."""
        header = nb.load(self.image).header.copy()
        header.set_data_dtype(data.dtype)
        nb.save(nb.Nifti1Image(data, None, header), self.image)

    def link(self, ending: str, target: Path) -> None:
        """Replace a file of the run by a link."""
        self.beside(ending).unlink()
        self.beside(ending).symlink_to(target)

    def move_out(self, ending: str) -> None:
        """Move a file of the run out of the dataset and link to it."""
        target = self.outside / f'a{ending}'
        shutil.copy(self.beside(ending), target)
        self.link(ending, target)
