"""The pages opened in a browser, wide and as narrow as a phone, are not blank."""

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from bidsharmony.cli.group import run_group
from bidsharmony.reports.participant import write_participant_page
from bidsharmony.settings import Settings
from tests.synthetic_runs import study

CHROMIUM = shutil.which('chromium')
FLAGS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--hide-scrollbars',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
)
HEIGHT = 1200  # pixels
FEWEST_LEVELS = 16
"""Grey levels of a page with text and pictures; a blank one has one or two."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='needs chromium, to look at the pages'),
]


@pytest.fixture(scope='module')
def out_dir(tmp_path_factory):
    """A study with the page of one participant and the page of the group."""
    out_dir = study(tmp_path_factory.mktemp('derivatives'), figures=True)
    qc_files = list(out_dir.glob('sub-01/**/*_qc.json'))
    write_participant_page(out_dir, '01', qc_files, (), '1')
    settings = Settings(bids_dir=out_dir.parent, output_dir=out_dir, analysis_levels=('group',))
    assert run_group(settings) == 0
    return out_dir


@pytest.mark.parametrize('name', ['sub-01.html', 'group.html'])
@pytest.mark.parametrize('width', [1200, 400])
def test_a_browser_shows_the_page(out_dir, tmp_path, name, width):
    """What is drawn has the size of the window and more than a background."""
    shot = tmp_path / 'shot.png'
    command = [
        CHROMIUM,
        *FLAGS,
        f'--user-data-dir={tmp_path / "profile"}',
        f'--window-size={width},{HEIGHT}',
        f'--screenshot={shot}',
        (out_dir / name).as_uri(),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    with Image.open(shot) as image:
        assert image.size == (width, HEIGHT)
        levels, counts = np.unique(np.asarray(image.convert('L')), return_counts=True)
    assert len(levels) >= FEWEST_LEVELS
    assert counts.max() < 0.99 * counts.sum()
