"""Draw how the network was trained: fidelity and scanner probe over optimiser steps (simulated).

    python benchmarks/curves.py --figure docs/_static/training.png

`training.json` beside it holds the curves of every stage, as `bidsharmony-train` wrote them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bidsharmony.viz.figure import AFTER, BEFORE, new_figure, save_png, styled

CHANCE = 1 / 7  # of seven scanners
STAGES = Path(__file__).with_name('training.json')


@styled
def draw(stages: list[dict]) -> bytes:
    """Draw PSNR and probe of the stages, one after the other; PNG."""
    figure = new_figure(9, 3.4)
    figure.set_layout_engine('constrained')
    fidelity, probe = figure.subplots(1, 2)
    begun = 0
    for number, stage in enumerate(stages):
        rows = stage['curve']
        steps = [begun + row['step'] for row in rows]
        for key, name, colour in (('psnr_b0', 'b=0', BEFORE), ('psnr_trace', 'trace', AFTER)):
            label = None if number else name
            fidelity.plot(steps, [row[key] for row in rows], color=colour, label=label, marker='.')
        probe.plot(steps, [row['probe'] for row in rows], color=AFTER, marker='.')
        begun += rows[-1]['step']
        for axes in (fidelity, probe):
            axes.axvline(begun, color='#888888', linewidth=0.8, linestyle=':')
    for axes, title in ((fidelity, 'PSNR (dB)'), (probe, 'scanner named by a retrained forest')):
        axes.set_title(title)
        axes.set_xlabel('optimiser steps')
    probe.axhline(CHANCE, color='#888888', linewidth=1)
    probe.set_ylim(0, 1)
    fidelity.legend()
    return save_png(figure)


def main() -> int:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--figure', type=Path, required=True)
    options = parser.parse_args()
    options.figure.write_bytes(draw(json.loads(STAGES.read_text())['stages']))
    return 0


if __name__ == '__main__':
    sys.exit(main())
