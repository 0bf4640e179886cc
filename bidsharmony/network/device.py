"""Choose where networks run."""

from __future__ import annotations

import torch


def find_device(asked: str) -> str:
    """Tell where networks run: on the processor, or on a graphics card that torch can use.

    Parameters
    ----------
    asked : {'cpu', 'cuda', 'auto'}

    Returns
    -------
    {'cpu', 'cuda'}

    Raises
    ------
    ValueError
        if a card was asked for and there is none

    Examples
    --------
    >>> find_device('cpu')
    'cpu'
    """
    there = asked != 'cpu' and torch.cuda.is_available()
    if asked == 'cuda' and not there:
        built = torch.version.cuda
        why = 'finds no such device' if built else 'was built for processors only'
        raise ValueError(f'--device cuda: torch {torch.__version__} {why}. Give cpu or auto')
    return 'cuda' if there else 'cpu'
