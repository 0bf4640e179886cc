"""Find what a trace image without gradients can be paired with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bidsharmony.bids.images import check_name
from bidsharmony.bids.names import Name, same_label
from bidsharmony.bids.records import B0Source, BIDSError, relative_path
from bidsharmony.bids.sidecar import LARGEST_JSON, Inheritance, why_unusable

LOGGER = logging.getLogger(__name__)


def is_trace(name: Name) -> bool:
    return name.suffix == 'trace' or 'trace' in name.entities.get('reconstruction', '').lower()


def acquisition(entities: Mapping[str, str]) -> dict[str, str]:
    """Give what names an acquisition, however it was reconstructed or preprocessed."""
    return {k: label for k, label in entities.items() if k not in ('reconstruction', 'desc')}


@dataclass(frozen=True)
class Pairing:
    """Tell which gradients hold for the images of a dataset, and which of them have a b=0 to lend.

    Parameters
    ----------
    root : Path
        the dataset
    inheritance : Inheritance
    b0_threshold : s/mm2
    """

    root: Path
    inheritance: Inheritance
    b0_threshold: float

    def gradients(self, image: Path, name: Name, ending: str, images: list[Path]) -> Path | None:
        """Give the gradient file that holds for an image, or None.

        By inheritance ``sub-01_dwi.bval`` applies to ``sub-01_rec-TRACE_dwi.nii.gz`` too. But it
        is that of ``sub-01_dwi.nii.gz``, where there is one, and not of its trace image.
        """
        path = self.inheritance.nearest(image, name, ending)
        if path is None or not is_trace(name):
            return path
        others = {other.name.split('.')[0] for other in images} - {image.name.split('.')[0]}
        return None if path.name.split('.')[0] in others else path

    def b0_sources(self, trace: Name, images: list[Path]) -> tuple[B0Source, ...]:
        """List what may hold the b=0 of a trace image; the most similar name comes first.

        Whether an image was selected does not matter here, and what is wrong with one is said
        where it is a run itself.
        """
        found = []
        for image in images:
            try:
                name = check_name(image)
                if (
                    name.suffix != 'dwi'
                    or name.entities.get('session') != trace.entities.get('session')
                    or name.entities.get('part', 'mag') != 'mag'
                    or name.entities.get('desc') == 'harmonized'
                    or why_unusable(image, self.root)
                ):
                    continue
                bval = self.gradients(image, name, '.bval', images)
                if bval is None:
                    continue
                sidecar, files = self.inheritance.merged(image, name)
            except BIDSError as error:
                LOGGER.debug('%s: no source of a b=0: %s.', relative_path(image), error)
                continue
            differing = [
                not same_label(key, name.entities.get(key, ''), trace.entities.get(key, ''))
                for key in ('acquisition', 'run', 'direction')
            ]
            rank = (*differing, not self.holds_only_b0(bval), relative_path(image))
            found.append((rank, B0Source(image, bval, sidecar, files)))
        return tuple(source for _, source in sorted(found, key=lambda pair: pair[0]))

    def holds_only_b0(self, bval: Path) -> bool:
        """Tell the b-values of a b=0 image; a file that cannot be read is judged with its run."""
        # --help goes through this module, and does without numpy
        from bidsharmony.numerics.gradients import GradientError, are_all_b0, parse_bvals

        try:
            if bval.stat().st_size > LARGEST_JSON:
                return False
            bvals = parse_bvals(bval.read_text(encoding='utf-8-sig'))
        except (OSError, UnicodeDecodeError, GradientError):
            return False
        return are_all_b0(bvals, b0_threshold=self.b0_threshold)
