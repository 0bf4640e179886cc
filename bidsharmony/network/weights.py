"""Weights on disk: safetensors, with the recipe that made them in the header."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bidsharmony.network.model import CONDITIONS, Harmonizer
from bidsharmony.numerics.equalise import CELLS

MAX_BYTES = 4 * 2**20  # the file is read by everyone who runs the program: it stays small
MAX_WIDTH = 512  # features; a network of this width does not fit into MAX_BYTES
UNUSABLE = (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError)
FINEST_MM, COARSEST_MM = 0.1, 20.0  # of grid and resolution: a finer grid would fill the memory
LARGEST_LOG = 40.0  # of a spectrum
SHIPPED = 'harmonizer.safetensors'


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names file, cause and remedy."""


@dataclass(frozen=True)
class Weights:
    """A network ready for inference.

    Attributes
    ----------
    model : Harmonizer
    sha256 : str
        Of the file.
    recipe : dict
        What the file says of its making: widths, fwhm_mm, seed, steps.
    """

    model: Harmonizer
    sha256: str
    recipe: dict

    @property
    def spacing_mm(self) -> float:
        """In-plane spacing of the grid the network works on, mm."""
        return float(self.recipe['spacing_mm'])

    @property
    def fwhm_mm(self) -> float:
        """In-plane resolution of the canonical images, mm."""
        return float(self.recipe['fwhm_mm'])

    @property
    def thickness_mm(self) -> float:
        """Full width at half maximum of the canonical slice profile, mm."""
        return float(self.recipe['thickness_mm'])

    @property
    def tissue_mean(self) -> float | None:
        """Robust b=0 scale of canonical images, which defines their unit; None if not said."""
        said = self.recipe.get('tissue_mean')
        return None if said is None else float(said)

    @property
    def spectrum(self) -> np.ndarray | None:
        """Spectrum of b=0 and trace that the network leaves behind, over scanners, (2, K, K).

        As `numerics.equalise.cell_spectrum` gives it; None if it was not measured.
        """
        said = self.recipe.get('left_spectrum')
        return None if said is None else np.array(said, np.float64)


def shipped_weights() -> Path:
    """Return the weights that come with the package."""
    return Path(str(resources.files('bidsharmony.data') / SHIPPED))


def save_weights(model: Harmonizer, path: Path, recipe: dict) -> None:
    """Write a model's weights.

    Parameters
    ----------
    model : Harmonizer
    path : Path
        Ends in .safetensors.
    recipe : dict
        JSON-serialisable; must hold `widths`, `fwhm_mm`, `thickness_mm` and `spacing_mm`.

    Notes
    -----
    Numbers are kept in half precision: at eleven bits they are finer than what training leaves
    uncertain, and the file stays small. Whatever is reported of a network is measured on its file.
    """
    recipe = {**recipe, 'conditions': [list(row) for row in CONDITIONS]}
    state = {name: tensor.contiguous().half() for name, tensor in model.state_dict().items()}
    _write(path, state, recipe)


def load_weights(path: Path | None = None, *, widen: bool = False) -> Weights:
    """Load a network.

    Parameters
    ----------
    path : Path or None
        The shipped weights if None.
    widen : bool
        Whether the file may know fewer conditions: those it lacks then count for nothing, until
        training teaches it otherwise.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file is missing, too large, damaged, or was made for another network.
    """
    path = shipped_weights() if path is None else Path(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise WeightsError(f'{path}: {error.strerror}. Give --weights an existing file.') from None
    if size > MAX_BYTES:
        raise WeightsError(
            f'{path}: {size} bytes, at most {MAX_BYTES}. Use a file of this program.'
        )
    try:
        with safe_open(path, framework='pt') as file:
            recipe = json.loads((file.metadata() or {}).get('recipe', '{}'))
            state = {name: _numbers(file.get_tensor(name), name) for name in file.keys()}  # noqa: SIM118
        if widen and 'facts.0.weight' in state:
            state['facts.0.weight'] = _widened(state['facts.0.weight'], recipe['conditions'])
        elif recipe.get('conditions') != [list(row) for row in CONDITIONS]:
            raise WeightsError(
                f'{path}: made for other scanner facts than this version uses. '
                'Train again or install the version that made it.'
            )
        model = Harmonizer(_widths(recipe['widths']))
        model.load_state_dict(state)
        weights = Weights(model.eval(), hashlib.sha256(path.read_bytes()).hexdigest(), recipe)
        lengths = (weights.fwhm_mm, weights.thickness_mm, weights.spacing_mm)
        scale = 1.0 if weights.tissue_mean is None else weights.tissue_mean
        if (
            not all(FINEST_MM <= value <= COARSEST_MM for value in lengths)
            or not 0 < scale < math.inf
        ):
            raise WeightsError(
                f'{path}: no resolution or grid in its header. Use a file of this program.'
            )
        if not _is_spectrum(weights.spectrum):
            raise WeightsError(
                f'{path}: the spectrum in its header is none. Use a file of this program.'
            )
    except WeightsError:
        raise
    except UNUSABLE as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f'{path}: not usable weights ({reason}). Copy it again.') from None
    return weights


def set_spectrum(path: Path, spectrum: np.ndarray) -> None:
    """Write into a weights file what spectrum its network leaves; the weights stay as they are.

    Parameters
    ----------
    path : Path
    spectrum : (2, K, K) float
        See `Weights.spectrum`; kept to three decimals.
    """
    with safe_open(path, framework='pt') as file:
        recipe = json.loads(file.metadata()['recipe'])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    recipe['left_spectrum'] = np.round(spectrum, 3).tolist()
    _write(path, state, recipe)


def _write(path: Path, state: dict[str, Tensor], recipe: dict) -> None:
    """Write tensors and recipe, whole or not at all, readable for those that the umask allows."""
    part = path.with_name(f'{path.name}.part')
    part.write_bytes(save(state, metadata={'recipe': json.dumps(recipe, sort_keys=True)}))
    part.replace(path)


def _is_spectrum(said: np.ndarray | None) -> bool:
    """Tell whether a spectrum can be used, or is left out."""
    return said is None or (
        said.shape == (2, CELLS, CELLS) and bool((np.abs(said) < LARGEST_LOG).all())
    )


def _numbers(tensor: Tensor, name: str) -> Tensor:
    """Return finite numbers in single precision; anything else was no weight."""
    if not tensor.is_floating_point():
        raise ValueError(f'{name} holds {tensor.dtype}')
    if not torch.isfinite(tensor).all():
        raise ValueError(f'{name} holds what is no number')
    return tensor.float()


def _widths(said: list[int]) -> tuple[int, ...]:
    """Return the widths that a file states: those of a huge network would fill the memory."""
    if not all(type(width) is int and 0 < width <= MAX_WIDTH for width in said):
        raise ValueError(f'widths {said}'[:80])
    return tuple(said)


def _widened(weight: Tensor, known: list[list]) -> Tensor:
    """Give the first layer columns of zeros for conditions that it does not know, (out, 2 C)."""
    if weight.shape[1] != 2 * len(known):
        raise ValueError(f'{weight.shape[1]} inputs for {len(known)} conditions')
    place = {row[0]: i for i, row in enumerate(known)}
    out = torch.zeros(len(weight), 2 * len(CONDITIONS))
    for i, row in enumerate(CONDITIONS):
        old = place.get(row[0])
        if old is not None and list(row) == known[old]:
            out[:, i] = weight[:, old]  # the value
            out[:, len(CONDITIONS) + i] = weight[:, len(known) + old]  # the flag
    return out
