"""Take the pictures of pages that the documentation shows, from simulated heads only.

bidsharmony-phantom DEMO/bids --heads 1 --scanners 2 --lesions
bidsharmony DEMO/bids DEMO/out participant group
python docs/screenshots.py DEMO/bids DEMO/out
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.browser import CHROMIUM  # noqa: E402
from tests.browser import FLAGS as QUIET  # noqa: E402

STATIC = Path(__file__).resolve().parent / '_static'
COLORS = 192
LARGEST = 300_000  # bytes of a picture
FLAGS = (*QUIET, '--allow-file-access-from-files')
DARK = '--blink-settings=preferredColorScheme=0'
SHOTS = (
    ('page-participant.png', 'participant', 1400, 1500, ()),
    ('page-participant-dark.png', 'participant', 1400, 1000, (DARK,)),
    ('page-participant-phone.png', 'participant', 390, 1300, ()),
    ('page-group.png', 'group', 1400, 1500, ()),
)
"""File, page, width and height of the window, and flags of the browser."""
FRAME = (
    '<!DOCTYPE html><body style="margin:0">'
    '<iframe src="{uri}" width="{width}" height="{height}" style="border:0"></iframe></body>'
)


def is_simulated(bids_dir: Path) -> bool:
    """Tell whether a dataset says that `bidsharmony-phantom` made it."""
    description = json.loads((bids_dir / 'dataset_description.json').read_text(encoding='utf-8'))
    makers = [str(maker.get('Name')) for maker in description.get('GeneratedBy') or ()]
    return any('phantom' in maker for maker in makers)


def shoot(page: Path, width: int, height: int, flags: tuple[str, ...]) -> bytes:
    """Open a page in a window of this size and return what is seen as a small PNG."""
    with TemporaryDirectory() as folder:
        # a browser has a narrowest window, a frame has none
        frame, shot = Path(folder) / 'frame.html', Path(folder) / 'shot.png'
        frame.write_text(FRAME.format(uri=page.resolve().as_uri(), width=width, height=height))
        subprocess.run(
            [
                CHROMIUM, *FLAGS, *flags, f'--user-data-dir={folder}/profile',
                f'--window-size={max(width, 600)},{height}', f'--screenshot={shot}',
                frame.as_uri(),
            ],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        with Image.open(shot) as image:
            seen = image.convert('RGB').crop((0, 0, width, height))
    if width > 1000:
        seen = seen.resize((width * 7 // 10, height * 7 // 10), Image.Resampling.LANCZOS)
    # greys are most of a page, and a palette by frequency would leave no room for colours
    seen = seen.quantize(COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    with io.BytesIO() as stream:
        seen.save(stream, format='PNG', optimize=True)
        return stream.getvalue()


def main() -> int:
    """Take every picture; end with 1 if one is too large."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('bids_dir', type=Path, help='made by bidsharmony-phantom')
    parser.add_argument('output_dir', type=Path, help='made of it by bidsharmony')
    parser.add_argument('--static', type=Path, default=STATIC, help='where pictures go')
    options = parser.parse_args()
    if CHROMIUM is None:
        parser.error('no browser: install chromium')
    if not is_simulated(options.bids_dir):
        parser.error(f'{options.bids_dir}: not made by bidsharmony-phantom')
    pages = {
        'participant': min(options.output_dir.glob('sub-*.html'), default=None),
        'group': options.output_dir / 'group.html',
    }
    code = 0
    for name, kind, width, height, flags in SHOTS:
        page = pages[kind]
        if page is None or not page.is_file():
            sys.stdout.write(f'{name}: no such page, left as it is\n')
            continue
        content = shoot(page, width, height, flags)
        (options.static / name).write_bytes(content)
        sys.stdout.write(f'{name}: {len(content) / 1000:.0f} kB\n')
        code = code or int(len(content) > LARGEST)
    return code


if __name__ == '__main__':
    sys.exit(main())
