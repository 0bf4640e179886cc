"""What is planned is told as what is done."""

from bidsharmony.bids import DwiRun, Scanner
from bidsharmony.cli.again import planned
from bidsharmony.reports.methods import methods_view
from bidsharmony.settings import Settings


def test_methods_tell_what_is_planned(tmp_path):
    """Spaces and voxels are named before there is a run that has them."""
    image = tmp_path / 'sub-01' / 'dwi' / 'sub-01_dwi.nii.gz'
    run = DwiRun(image, None, image, {}, (), {'subject': '01'}, Scanner())
    plain = Settings(bids_dir=tmp_path, output_dir=tmp_path)
    asked = Settings(
        bids_dir=tmp_path,
        output_dir=tmp_path,
        output_spaces=('MNI152NLin2009cAsym:res-2',),
        output_resolution=2.5,
    )
    texts = [methods_view(planned(one, [run]), '1')['markdown'] for one in (plain, asked)]
    for words in ('MNI152NLin2009cAsym:res-2', '2.5'):
        assert [words in text for text in texts] == [False, True]
    assert 'stay what they were' in texts[0]
