"""All classes of the corpus."""

from tests.corpus import files, geometry, gradients, headers, voxels

TABLES = (files.TABLE, headers.TABLE, geometry.TABLE, voxels.TABLE, gradients.TABLE)
