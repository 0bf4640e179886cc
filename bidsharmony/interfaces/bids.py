"""Give derivatives their BIDS names, inside a staging folder."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from nipype.interfaces.base import File, InputMultiObject
from niworkflows.interfaces.bids import DerivativesDataSink as _DerivativesDataSink

_SPEC = json.loads(files('bidsharmony.data').joinpath('io_spec.json').read_text())
_COPIED = ('.bval', '.bvec')
_OTHER_ENTITIES = (
    'chunk den fmap nucleus res roi sample scans segmentation staining subset tracksys volume'
)


class _DerivativesDataSinkInput(_DerivativesDataSink.input_spec):
    # its name is asked for, and a long series would be hashed once for each product
    source_file = InputMultiObject(
        File(exists=False), mandatory=True, hash_files=False, desc='whose entities are inherited'
    )


class DerivativesDataSink(_DerivativesDataSink):
    """Name a file as ``data/io_spec.json`` says, and link it there as it is.

    niworkflows decompresses an image and compresses it again at gzip level 9, a minute for a
    long series. Here it names empty stand-ins, and the files themselves are hard-linked into
    their places afterwards, byte for byte. Gradient files belong to the user's dataset and are
    copied.
    """

    input_spec = _DerivativesDataSinkInput
    out_path_base = ''
    # An entity that is parsed but not listed here would be added to the name once more.
    _config_entities = (
        _DerivativesDataSink._config_entities
        | {entity['name'] for entity in _SPEC['entities']}
        | set(_OTHER_ENTITIES.split())
    )
    _config_entities_dict = _SPEC['entities']
    _file_patterns = tuple(_SPEC['default_path_patterns'])
    _standard_spaces = ()
    _default_dtypes = MappingProxyType(defaultdict(lambda: None))

    def _run_interface(self, runtime):
        originals = [Path(path).absolute() for path in self.inputs.in_file]
        with TemporaryDirectory(dir=runtime.cwd) as folder:
            stand_ins = []
            for ix, original in enumerate(originals):
                stand_in = Path(folder) / str(ix) / original.name
                stand_in.parent.mkdir()
                stand_in.touch()
                stand_ins.append(str(stand_in))
            self.inputs.in_file = stand_ins
            try:
                runtime = super()._run_interface(runtime)
            finally:
                self.inputs.in_file = [str(path) for path in originals]
        for original, place in zip(originals, self._results['out_file'], strict=True):
            os.unlink(place)
            if place.endswith(_COPIED):
                shutil.copyfile(original, place)
            else:
                link_file(original, Path(place))
        return runtime


def link_file(source: Path, place: Path) -> None:
    """Hard-link a file, or copy it where the file system cannot."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
