"""The pages opened in a browser, wide and as narrow as a phone, are not blank."""

import subprocess

import numpy as np
import pytest
from PIL import Image

from bidsharmony.cli.group import run_group
from bidsharmony.reports.participant import write_participant_page
from bidsharmony.settings import Settings
from tests.browser import CHROMIUM, FLAGS
from tests.synthetic_runs import study

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


def shoot(page, folder, *flags) -> None:
    """Let the browser open a page and do what the flags say."""
    command = [CHROMIUM, *FLAGS, f'--user-data-dir={folder / "profile"}', *flags, page.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def test_the_buttons_show_one_side_at_a_time(out_dir, tmp_path):
    """Where the pictures are, before and after differ; both beside each other are something else.

    A click does no more than move the mark ``checked``, so it is moved in the file.
    """
    html = (out_dir / 'sub-01.html').read_text()
    shown = {}
    for when in ('before', 'after', 'both'):
        page = tmp_path / f'{when}.html'
        moved = html.replace(' checked>', '>')
        moved = moved.replace(f'class="show-{when}">', f'class="show-{when}" checked>')
        page.write_text(moved)
        shot = tmp_path / f'{when}.png'
        shoot(page, tmp_path, '--window-size=1200,1000', f'--screenshot={shot}')
        with Image.open(shot) as image:
            shown[when] = np.asarray(image.convert('L')).astype(int)
    button = shown['before'] != shown['after']
    assert button.mean() > 0.05
    assert (shown['both'] != shown['after']).mean() > 0.05
    # before and after take the same room: nothing below them moves
    rows = np.flatnonzero(button.any(axis=1))
    assert rows[0] > 100  # name and summary stay
    original = tmp_path / 'as_written.png'
    shoot(out_dir / 'sub-01.html', tmp_path, '--window-size=1200,1000', f'--screenshot={original}')
    with Image.open(original) as image:
        np.testing.assert_array_equal(np.asarray(image.convert('L')), shown['after'])


def test_on_paper_both_sides_are_there(out_dir, tmp_path):
    """Every picture of the page is in the PDF, those too that the screen hides."""
    shoot(out_dir / 'sub-01.html', tmp_path, f'--print-to-pdf={tmp_path / "page.pdf"}')
    pictures = (tmp_path / 'page.pdf').read_bytes().count(b'/Subtype /Image')
    assert pictures >= (out_dir / 'sub-01.html').read_text().count('<img ') == 13


def test_a_dark_page_is_dark(out_dir, tmp_path):
    """With charts that do not glare, and pictures as they were."""
    levels = {}
    for scheme in ('light', 'dark'):
        shot = tmp_path / f'{scheme}.png'
        flag = f'--blink-settings=preferredColorScheme={int(scheme == "light")}'
        window = '--window-size=1200,5000'
        shoot(out_dir / 'sub-01.html', tmp_path, flag, window, f'--screenshot={shot}')
        with Image.open(shot) as image:
            levels[scheme] = np.asarray(image.convert('L'))
    assert np.median(levels['light']) > 200
    assert np.median(levels['dark']) < 60
    assert (levels['dark'] > 235).mean() < 0.05
