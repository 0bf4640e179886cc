"""Files that were damaged on the way: what gzip and the file system make of an image."""

import gzip

from tests.corpus.case import Table

TABLE = Table('gz and file')


@TABLE.refused('gzip data ends early, the file is cut. Copy it again')
def cut(run):
    """Lose the second half."""
    run.image.write_bytes(run.image.read_bytes()[: run.image.stat().st_size // 2])


@TABLE.refused('the file is damaged. Copy it again')
def bit_flipped(run):
    """Flip one bit in the middle."""
    content = bytearray(run.image.read_bytes())
    content[len(content) // 2] ^= 16
    run.image.write_bytes(content)


@TABLE.refused('gzip CRC does not match, the file is damaged. Copy it again')
def crc_wrong(run):
    """Change the checksum only: every voxel is as it was."""
    content = bytearray(run.image.read_bytes())
    content[-6] ^= 1
    run.image.write_bytes(content)


@TABLE.refused('gzip CRC does not match, the file is damaged. Copy it again')
def length_wrong(run):
    """Change the length that gzip states at its end."""
    content = bytearray(run.image.read_bytes())
    content[-2] ^= 1
    run.image.write_bytes(content)


@TABLE.refused('gzip data ends early')
def trailer_lost(run):
    """Lose the eight bytes of checksum and length."""
    run.image.write_bytes(run.image.read_bytes()[:-8])


@TABLE.refused('is empty. Copy it again')
def empty(run):
    """Leave a file of no bytes."""
    run.image.write_bytes(b'')


@TABLE.refused('is not valid gzip')
def web_page(run):
    """Put an error page where the image should be."""
    run.image.write_bytes(b'<html>not found</html>')


# Other programs open it all the same. Its name promises what it is not, so it was not written
# by the converter whose name it has.
@TABLE.refused('is not valid gzip')
def not_compressed(run):
    """Call a plain NIfTI file .nii.gz."""
    run.image.write_bytes(run.content())


@TABLE.refused('is not a NIfTI file')
def compressed_plain_name(run):
    """Call a gzip file .nii."""
    return _renamed(run, '*_dwi.nii')


@TABLE.refused('is not a NIfTI file')
def compressed_twice(run):
    """Compress the image a second time."""
    run.save(run.image.read_bytes())


@TABLE.refused('is not valid gzip')
def garbage_behind(run):
    """Append other bytes to the gzip stream."""
    run.image.write_bytes(run.image.read_bytes() + b'garbage')


@TABLE.refused('the file is cut short')
def voxels_lost(run):
    """Compress an image that ends before its last volume."""
    run.save(run.content()[:-5000])


@TABLE.refused('holds more than the')
def voxels_too_many(run):
    """Append two million bytes to the voxels."""
    run.save(run.content() + bytes(2_000_000))


# Compressors that work in parallel write members, and tapes pad with zeros: gzip allows both.
@TABLE.processed('"shape": [24, 24, 12, 7]')
def two_members(run):
    """Compress the image in two members, with zeros behind."""
    content = bytes(run.content())
    parts = gzip.compress(content[:900]) + gzip.compress(content[900:])
    run.image.write_bytes(parts + bytes(512))


def _renamed(run, name):
    target = run.named(name)
    run.image.rename(target)
    return target.relative_to(run.root).as_posix()
