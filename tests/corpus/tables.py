"""All classes of the corpus."""

from tests.corpus import (
    files,
    geometry,
    gradients,
    headers,
    layout,
    scanners,
    security,
    sidecars,
    voxels,
)

MODULES = (
    *(files, headers, geometry, voxels, gradients),
    *(sidecars, layout, security, scanners),
)

TABLES = tuple(module.TABLE for module in MODULES)

CASES = tuple(case for table in TABLES for case in table.cases)
