"""Names and folders that are not BIDS, links to nothing, runs that are there twice."""

import shutil

from tests.corpus.case import Table

TABLE = Table('layout')


@TABLE.refused('its extension is in capitals. Rename it to .nii or .nii.gz')
def capitals(run):
    """Write the extension in capitals: pybids leaves such a file out unsaid."""
    return _move(run, '*_dwi.NII.GZ')


@TABLE.refused('it is there both as .nii and as .nii.gz. Keep one')
def both_extensions(run):
    """Keep the image uncompressed beside it."""
    run.beside('.nii').write_bytes(run.content())


@TABLE.refused('its name belongs in sub-09/dwi, not in sub-02/dwi. Rename or move it')
def in_another_folder(run):
    """Lie in the folder of another participant."""
    return run.rename('sub-09_dwi')


@TABLE.refused("'acq-é' in its name is no entity-label pair of letters and digits. Rename it")
def accent(run):
    """Have a letter with an accent in a label."""
    return run.rename('*_acq-é_dwi')


# BIDS 1.10 allows it. Labels become names of pages and graphs here.
@TABLE.refused("'acq-a+b' in its name is no entity-label pair")
def plus(run):
    """Have a plus sign in a label."""
    return run.rename('*_acq-a+b_dwi')


@TABLE.refused('its name has acquisition twice. Rename it')
def entity_twice(run):
    """Have an entity twice in the name."""
    return run.rename('*_acq-a_acq-b_dwi')


@TABLE.refused('not in a suffix. Rename it after BIDS')
def second_download(run):
    """Be what a browser makes of a second download."""
    return run.rename('*_dwi (1)')


@TABLE.refused('is a link to a file that is not there. Fetch its content (datalad get)')
def content_not_fetched(run):
    """Be a link of a dataset whose content was not fetched."""
    run.link('.nii.gz', run.root / '.git' / 'annex' / 'objects' / 'key')


@TABLE.refused('is a link that leads nowhere. Remove it')
def link_to_itself(run):
    """Be a link to itself."""
    run.link('.nii.gz', run.image)


@TABLE.refused('is not a regular file. Remove it')
def folder_for_image(run):
    """Be a folder with the name of an image."""
    run.image.unlink()
    run.image.mkdir()
    (run.image / 'slice.dcm').write_bytes(b'')


@TABLE.refused('the folder of this participant is a link to nothing. Fetch it or remove it')
def participant_not_fetched(run):
    """Let the participant's folder be a link to nothing."""
    shutil.rmtree(run.root / run.participant)
    (run.root / run.participant).symlink_to(run.root / 'gone')
    return f'{run.participant}/dwi'


@TABLE.refused('its outputs would have the same names as those of')
def preprocessed_beside(run):
    """Have a preprocessed copy in the same folder."""
    for ending in ('.nii.gz', '.bval', '.bvec', '.json'):
        shutil.copy(run.beside(ending), run.named(f'*_desc-preproc_dwi{ending}'))


@TABLE.refused('has the same index as sub-02_run-1_dwi.nii.gz: zeros in front count for nothing')
def one_index_twice(run):
    """Have a run-1 and a run-01, which BIDS takes for one run."""
    shutil.copy(run.image, run.named('*_run-1_dwi.nii.gz'))
    return _move(run, '*_run-01_dwi.nii.gz')


@TABLE.processed('The image is a copy of sub-02_acq-copy_dwi.nii.gz: one acquisition is counted')
def image_twice(run):
    """Have the same image under two names."""
    for ending in ('.nii.gz', '.bval', '.bvec', '.json'):
        shutil.copy(run.beside(ending), run.named(f'*_acq-copy_dwi{ending}'))


@TABLE.skipped('a single-band reference, not a series')
def reference(run):
    """Be a single-band reference."""
    return _move(run, '*_sbref.nii.gz')


@TABLE.skipped('part-phase of a complex series; the magnitude is harmonized')
def phase(run):
    """Be the phase of a complex series."""
    return run.rename('*_part-phase_dwi')


@TABLE.skipped('already harmonized')
def harmonized_already(run):
    """Be an output of this program."""
    return run.rename('*_desc-harmonized_dwi')


@TABLE.skipped('a hidden file, as systems leave them beside others')
def hidden(run):
    """Have beside it what macOS writes on foreign disks."""
    path = run.named('._*_dwi.nii.gz')
    path.write_bytes(b'\x00\x05\x16\x07')
    return path.relative_to(run.root).as_posix()


def _move(run, name):
    """Rename the image alone."""
    run.image.rename(run.named(name))
    return run.named(name).relative_to(run.root).as_posix()
