"""Damaged and impossible inputs are refused in one line that names file, cause and remedy."""

import gzip
import hashlib
import json
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids import B0Source, DwiRun, Scanner
from bidsharmony.interfaces import files
from bidsharmony.interfaces.files import InputError, read_to_end
from bidsharmony.interfaces.inputs import (
    NO_DIRECTIONS,
    SkippedRunError,
    check_run,
    note_twins,
)
from bidsharmony.interfaces.voxels import VolumeRanges
from tests import tiny_dataset


def as_run(image: Path) -> DwiRun:
    """Describe a run as the search would."""
    stem = image.name.removesuffix('.gz').removesuffix('.nii')
    bval, bvec, json = (image.with_name(stem + end) for end in ('.bval', '.bvec', '.json'))
    return DwiRun(
        image=image,
        bval=bval if bval.exists() else None,
        bvec=bvec if bvec.exists() else None,
        sidecar=tiny_dataset.SIDECAR,
        sidecar_files=(json,),
        entities={'subject': '01'},
        scanner=Scanner(),
    )


@pytest.fixture
def image(tmp_path):
    """Write a whole run."""
    return tiny_dataset.write_run(tiny_dataset.write_dataset(tmp_path / 'raw'), 'sub-01')


def cut(path):
    """Lose the second half."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def wrong_sum(path):
    """Change the checksum only: all voxels are as they were."""
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


def lose_trailer(path):
    """Lose the checksum."""
    path.write_bytes(path.read_bytes()[:-8])


def garbage_behind(path):
    """Have something else behind the gzip stream."""
    path.write_bytes(path.read_bytes() + b'garbage')


def empty(path):
    """Have nothing."""
    path.write_bytes(b'')


def no_gzip(path):
    """Be text with the name of an image."""
    path.write_bytes(b'<html>not found</html>')


def fewer_voxels(path):
    """Be a valid gzip that ends before the last volume."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5000], 1))


def claim(path):
    """Claim 9e12 voxels."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:50] = np.array([30000, 30000, 10000, 1], '<i2').tobytes()
    path.write_bytes(gzip.compress(bytes(content[:400])))


def bomb(path):
    """Hold far more than the header says."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(40_000_000)))


def three_d(path):
    """Be one volume."""
    nb.save(nb.Nifti1Image(np.ones((4, 4, 4), np.int16), np.eye(4)), path)


def complex_voxels(path):
    """Hold complex numbers."""
    nb.save(nb.Nifti1Image(np.ones((4, 4, 4, 7), np.complex64), np.eye(4)), path)


def two_sizes(path):
    """Have an affine of 2 mm and zooms of 3 mm."""
    old = nb.load(path)
    header = old.header.copy()
    header.set_sform(np.diag([2.0, 2, 2, 1]), code=1)
    header['pixdim'][1:4] = 3
    nifti = nb.Nifti1Image(np.asarray(old.dataobj), None, header)
    nb.save(nifti, path)


CASES = {
    cut: 'the file is cut|the file is cut short',
    flip: 'the file is damaged|the file is cut',
    wrong_sum: 'gzip CRC does not match, the file is damaged. Copy it again and re-run.',
    lose_trailer: 'gzip data ends early',
    garbage_behind: 'not valid gzip',
    empty: 'is empty',
    no_gzip: 'not valid gzip',
    fewer_voxels: 'is cut short',
    claim: 'claims a shape of',
    bomb: 'holds more than',
    three_d: 'has 3 dimensions',
    complex_voxels: 'not real numbers',
    two_sizes: 'in its affine',
}


@pytest.mark.parametrize(('damage', 'cause'), CASES.items(), ids=[f.__name__ for f in CASES])
def test_damaged_images_are_refused(image, damage, cause):
    """Each damage has its own cause, and a remedy."""
    damage(image)
    with pytest.raises(InputError, match=cause) as caught:
        check_run(as_run(image), 50.0)
    message = str(caught.value)
    assert message.startswith('sub-01/dwi/sub-01_dwi.nii.gz: ')
    assert message.endswith('.')
    assert '\n' not in message


@pytest.mark.parametrize(
    ('ending', 'text', 'cause'),
    [
        ('.bval', '0 1000 1000', 'b-values for 7 volumes'),
        ('.bval', '1000 1000 1000 1000 1000 1000 1000', 'b=0'),
        ('.bval', 'one two', 'one'),
        ('.bvec', '0 1\n0 1', 'row|line|direction|shape'),
    ],
)
def test_bad_gradients_are_refused(image, ending, text, cause):
    """A gradient table must fit the series."""
    image.with_name(f'sub-01_dwi{ending}').write_text(text)
    with pytest.raises(InputError, match=cause) as caught:
        check_run(as_run(image), 50.0)
    assert caught.value.file.startswith('sub-01/dwi/sub-01_dwi')


@pytest.mark.parametrize('ending', ['.bval', '.bvec'])
def test_binary_gradients_are_refused(image, ending):
    """A gradient file must be text."""
    image.with_name(f'sub-01_dwi{ending}').write_bytes(b'\xff\xfe\x00\x01')
    with pytest.raises(InputError, match='not a text file'):
        check_run(as_run(image), 50.0)


def test_whole_run_is_described(image):
    """Shape, shells, orientation and the hash of every file are noted."""
    checked = check_run(as_run(image), 50.0)
    assert checked.shape == (24, 24, 12, 7)
    assert checked.b0_ixs == (0,)
    assert checked.shells == ((1000.0, 6),)
    assert checked.orientation == 'LAS'
    assert checked.notes == ()
    assert sorted(checked.inputs) == [
        f'sub-01/dwi/sub-01_dwi{end}' for end in ('.bval', '.bvec', '.json', '.nii.gz')
    ]
    sha256 = hashlib.sha256(image.read_bytes()).hexdigest()
    assert checked.inputs['sub-01/dwi/sub-01_dwi.nii.gz'] == sha256


def small(mask):
    """Be on a coarser grid."""
    return nb.Nifti1Image(np.ones((12, 12, 6), np.uint8), mask.affine)


def shifted(mask):
    """Be on a grid that is half a millimetre off."""
    affine = mask.affine.copy()
    affine[0, 3] += 0.5
    return nb.Nifti1Image(np.ones(mask.shape[:3], np.uint8), affine)


def nothing(mask):
    """Hold no brain."""
    return nb.Nifti1Image(np.zeros(mask.shape[:3], np.uint8), mask.affine)


def whole(mask):
    """Be as it should."""
    return nb.Nifti1Image(np.ones(mask.shape[:3], np.uint8), mask.affine)


@pytest.mark.parametrize(
    ('make', 'said'),
    [(whole, ''), (small, 'another grid'), (shifted, 'another grid'), (nothing, 'is empty')],
)
@pytest.mark.parametrize('damaged', [False, True])
def test_brain_mask_that_came_with_the_run(image, make, said, damaged):
    """One that fits is taken; else a note says what is wrong, and the run goes on without."""
    mask = image.with_name('sub-01_desc-brain_mask.nii.gz')
    nb.save(make(nb.load(image)), mask)
    if damaged:
        wrong_sum(mask)
    checked = check_run(replace(as_run(image), brain_mask=mask), 50.0)
    name = 'sub-01/dwi/sub-01_desc-brain_mask.nii.gz'
    if damaged or said:
        (note,) = checked.notes
        assert note.startswith(f'{name}: ')
        assert ('damaged' if damaged else said) in note
        assert note.endswith('. A brain mask was computed instead.')
        assert checked.brain_mask is None
        assert mask not in checked.sources
        return
    assert checked.notes == ()
    assert checked.brain_mask == checked.sources[-1] == mask
    assert checked.inputs[name] == hashlib.sha256(mask.read_bytes()).hexdigest()


def test_two_gzip_members_and_padding_are_whole(image):
    """Compressors that work in parallel write members; tapes pad with zeros."""
    content = gzip.decompress(image.read_bytes())
    image.write_bytes(gzip.compress(content[:900]) + gzip.compress(content[900:]) + bytes(512))
    assert len(read_to_end(image, 'x')) == 64


def test_zlib_has_the_last_word(image, monkeypatch):
    """What the faster library refuses is read again, and every voxel is seen once."""

    class NeverContent:
        error = ValueError

        class decompressobj:  # noqa: N801
            def __init__(self, wbits):
                self.member = zlib.decompressobj(wbits=wbits)

            def decompress(self, raw, most):
                content = self.member.decompress(raw, most)
                if self.member.eof:
                    raise ValueError('it does not like the end')
                self.eof, self.unconsumed_tail = False, self.member.unconsumed_tail
                return content

    whole, again = VolumeRanges(), VolumeRanges()
    digest = read_to_end(image, 'x', ranges=whole)
    monkeypatch.setattr(files, 'isal_zlib', NeverContent)
    assert read_to_end(image, 'x', ranges=again) == digest
    np.testing.assert_array_equal(again.high, whole.high)


@pytest.mark.parametrize('flag', [0x20, 0x40, 0x80])
@pytest.mark.parametrize('which', [0, 1])
def test_flags_that_mean_nothing_are_damage(image, flag, which):
    """In the header of any member: zlib refuses them, and ISA-L does not look."""
    content = gzip.decompress(image.read_bytes())
    members = [bytearray(gzip.compress(part)) for part in (content[:900], content[900:])]
    members[which][3] |= flag
    image.write_bytes(b''.join(members))
    with pytest.raises(InputError, match='is not valid gzip'):
        read_to_end(image, 'x')


def test_plain_nifti(image):
    """An image need not be compressed."""
    plain = image.with_name('sub-01_dwi.nii')
    plain.write_bytes(gzip.decompress(image.read_bytes()))
    assert check_run(as_run(plain), 50.0).shape == (24, 24, 12, 7)


def test_volumes_without_a_direction_make_no_series(image):
    """One direction among them would."""
    assert check_run(as_run(image), 50.0).no_series == ''
    checked = check_run(as_run(tiny_dataset.drop_directions(image)), 50.0)
    assert checked.no_series == NO_DIRECTIONS
    assert checked.notes == (
        '1 volume with b > 50 s/mm2 and without a direction counts as trace images.',
    )


@pytest.fixture
def pair(image):
    """Describe a trace image and a series with b=0 on its grid; keywords are of the trace."""

    def make(*sources, **how):
        root = image.parents[2]
        trace = tiny_dataset.write_trace(root, 'sub-01_acq-t', **how)
        sidecar = json.loads(trace.with_name('sub-01_acq-t_trace.json').read_text())
        found = sources or (B0Source(image, image.with_name('sub-01_dwi.bval')),)
        run = as_run(trace)
        return replace(run, sidecar=sidecar, bval=None, bvec=None, b0_sources=found)

    return make


def test_pair_is_described_as_the_series_it_becomes(image, pair):
    """Every file that it depends on is hashed, the b=0 among them."""
    checked = check_run(pair(), 50.0)
    assert checked.shape == (24, 24, 12, 2)
    assert (checked.b0_ixs, checked.shells) == ((0,), ((1000.0, 1),))
    assert checked.partner.b0_ixs == (0,)
    assert checked.partner.bvals == (0.0, 1000.0)
    assert checked.no_series
    assert checked.notes == ('The b=0 comes from sub-01_dwi.nii.gz.',)
    assert checked.warnings == ()
    names = [
        f'sub-01/dwi/sub-01_{end}'
        for end in ('acq-t_trace.json', 'acq-t_trace.nii.gz', 'dwi.bval', 'dwi.nii.gz')
    ]
    assert sorted(checked.inputs) == names
    assert checked.inputs[names[3]] == hashlib.sha256(image.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ('sidecar', 'b_value', 'said'),
    [
        ({'DiffusionBValue': 800}, 800, None),
        ({'B_value': '1000'}, 1000, None),
        ({'DiffusionBFactor': [900.0]}, 900, None),
        ({}, 1000, 'does not state the b-value'),
        ({'BValue': [0, 1000]}, 1000, 'does not state the b-value'),
        ({'BValue': 'high'}, 1000, 'does not state the b-value'),
        ({'BValue': 0}, 1000, 'states as 0 the b-value'),
        ({'BValue': 1000, 'EchoTime': 0.071}, 1000, None),
        ({'BValue': 1000, 'EchoTime': 0.09}, 1000, 'is 0.09 s, that of its b=0 0.071 s'),
    ],
)
def test_b_value_of_a_trace_image(image, pair, sidecar, b_value, said):
    """It is what the sidecar says, or 1000 with a warning."""
    source = B0Source(image, image.with_name('sub-01_dwi.bval'), tiny_dataset.SIDECAR)
    checked = check_run(pair(source, sidecar=sidecar), 50.0)
    assert checked.shells == ((b_value, 1),)
    assert len(checked.warnings) == (said is not None)
    assert said is None or said in checked.warnings[0]


def test_a_pair_lies_on_one_grid(pair):
    """Rounding is forgiven, a millimetre is not."""
    assert check_run(pair(shift=0.05), 50.0).partner
    with pytest.raises(SkippedRunError, match=r'sub-01_dwi.nii.gz lies up to 1.0 mm away'):
        check_run(pair(shift=1.0), 50.0)


def other_shape(path):
    """Have half of the slices."""
    whole = nb.load(path)
    half = np.asarray(whole.dataobj[:, :, :6])
    nb.save(nb.Nifti1Image(half, None, whole.header), path)


def no_b0(path):
    """Have only weighted volumes."""
    path.with_name('sub-01_dwi.bval').write_text(' '.join(['1000'] * 7))


def other_count(path):
    """Have a b-value too few."""
    path.with_name('sub-01_dwi.bval').write_text('0 1000')


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (other_shape, r'a trace image of \(24, 24, 12\) voxels .* has \(24, 24, 6\) voxels'),
        (no_b0, 'sub-01_dwi.nii.gz has no b=0 volume'),
        (other_count, '2 b-values for 7 volumes'),
        (cut, 'sub-01_dwi.nii.gz .*cut'),
    ],
    ids=lambda value: getattr(value, '__name__', ''),
)
def test_why_a_trace_image_finds_no_partner(image, pair, change, said):
    """It is skipped, with what each image tried is like, in one line."""
    change(image)
    with pytest.raises(SkippedRunError, match=said) as caught:
        check_run(pair(), 50.0)
    assert '\n' not in str(caught.value)


def test_the_second_choice_is_taken_where_the_first_does_not_fit(image, pair):
    """Sources are tried in their order."""
    moved = tiny_dataset.write_run(image.parents[2], 'sub-01_acq-far')
    other_shape(moved)
    sources = [B0Source(path, path.with_name(path.name[:-7] + '.bval')) for path in (moved, image)]
    assert check_run(pair(*sources), 50.0).partner.image == image


def test_damaged_or_manifold_trace_image(pair):
    """Damage is refused; several volumes are skipped, since nothing tells them apart."""
    run = pair()
    whole = nb.load(run.image)
    data = np.repeat(np.asarray(whole.dataobj)[..., None], 3, axis=-1)
    nb.save(nb.Nifti1Image(data, whole.affine), run.image)
    with pytest.raises(SkippedRunError, match='holds 3 volumes'):
        check_run(run, 50.0)
    cut(run.image)
    with pytest.raises(InputError, match='the file is cut'):
        check_run(run, 50.0)


def test_more_than_is_allowed(image):
    """An image is refused for its size before it is read, whatever the size really is."""
    size = len(gzip.decompress(image.read_bytes()))
    assert check_run(as_run(image), 50.0, max_bytes=size)
    with pytest.raises(InputError, match=r'raise --max-gb'):
        check_run(as_run(image), 50.0, max_bytes=size - 1)


def test_copies_depend_on_each_other(image):
    """A copy is told in both runs, and in neither once the other has voxels of its own."""
    name = 'sub-01/dwi/sub-01_acq-b_dwi.nii.gz'
    other = tiny_dataset.write_run(image.parents[2], 'sub-01_acq-b')
    twins = note_twins([check_run(as_run(path), 50.0) for path in (image, other)])
    assert all('is a copy of' in ' '.join(checked.warnings) for checked in twins)
    assert twins[0].inputs[name] == twins[1].inputs[name]
    tiny_dataset.write_run(image.parents[2], 'sub-01_acq-b', seed=3)
    alone = note_twins([check_run(as_run(path), 50.0) for path in (image, other)])
    assert not [warning for checked in alone for warning in checked.warnings]
    assert name not in alone[0].inputs
