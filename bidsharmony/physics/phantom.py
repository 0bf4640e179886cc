"""Virtual travelling heads as a BIDS dataset: the same anatomy on scanners of several vendors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from bidsharmony.physics.heads import Head, Lesion, Slab, smooth_field, template_head, warped_head
from bidsharmony.physics.scanner import KSpace, Protocol, slice_profile
from bidsharmony.physics.signal import Contrast, TissueTable, nominal_table, tissue_signal
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES, TISSUES

README = """Virtual travelling heads: simulated diffusion MRI of one anatomy on several scanners.
Every image is simulated; fibre directions are an invented smooth function of place.
"""


LESION_RADIUS = 8.0  # mm


@dataclass(frozen=True)
class PhantomScanner:
    """A scanner of the phantom: its protocol, and how it writes files.

    Attributes
    ----------
    label : str
        Session label.
    protocol : Protocol
    fov : int
        mm.
    coil : float
        Logarithmic amplitude of the receive field.
    peak : float
        Stored value of the brightest tissue.
    slope : float
        Header slope.
    sidecar : dict
        Keys as this vendor's converter writes them.
    """

    label: str
    protocol: Protocol
    fov: int
    coil: float
    peak: float
    slope: float
    sidecar: dict


def phantom_scanners() -> list[PhantomScanner]:
    """Load the scanners that come with the package."""
    text = resources.files('bidsharmony.data').joinpath('phantom_scanners.json').read_text()
    scanners = []
    for entry in json.loads(text):
        settings = dict(entry['protocol'])
        contrast = Contrast(*(settings.pop(k) for k in Contrast.__dataclass_fields__))
        scanners.append(PhantomScanner(**{**entry, 'protocol': Protocol(contrast, **settings)}))
    return scanners


def icbm_heads(n: int, rng: np.random.Generator) -> list[Head]:
    """Make heads from nilearn's own ICBM152 tissue maps, each warped differently.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    list of Head
    """
    from nilearn.datasets import (
        load_mni152_brain_mask,
        load_mni152_gm_template,
        load_mni152_wm_template,
    )

    grey, white, brain = (
        np.pad(np.asarray(nib.as_closest_canonical(load(resolution=1)).dataobj, np.float32), 18)
        for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
    )
    average = template_head('icbm152', grey, white, brain > 0.5)
    return [warped_head(average, f'icbm152-{i + 1}', rng) for i in range(n)]


def fibre_directions(shape: tuple[int, ...], z: float) -> np.ndarray:
    """Return an invented, smooth field of fibre directions for one slice.

    Fibres cross the midline there, run upwards at mid distance and along the brain at its sides.

    Parameters
    ----------
    shape : (rows, columns)
    z : float
        mm above the volume's centre.

    Returns
    -------
    (rows, columns, 3) float32
        Unit vectors in RAS.
    """
    y, x = np.indices(shape, dtype=np.float32) - (np.array(shape)[:, None, None] - 1) / 2
    lateral = np.abs(x)
    across = np.exp(-((lateral / 14) ** 2))
    upwards = np.exp(-(((lateral - 26) / 10) ** 2))
    along = np.clip((lateral - 22) / 20, 0.1, 1)
    field = np.stack(
        [
            np.sign(x) * across + 0.3 * np.sin(y / 18),
            along + 0.3 * np.cos(x / 15),
            upwards + 0.3 * np.sin((y + z) / 20),
        ],
        axis=-1,
    )
    return (field / np.linalg.norm(field, axis=-1, keepdims=True)).astype(np.float32)


def axial_excess(anisotropy: np.ndarray) -> np.ndarray:
    """Return a in ``D(g) = MD (1 + a (3 cos^2 - 1))`` for an axially symmetric tensor of given FA.

    With eigenvalues ``MD (1 + 2 a)`` and ``MD (1 - a)`` twice, ``FA = 3 a / sqrt(3 + 6 a^2)``.

    Examples
    --------
    >>> a = float(axial_excess(np.array(0.6)))
    >>> float(round(3 * a / np.sqrt(3 + 6 * a**2), 6))
    0.6
    """
    return anisotropy * np.sqrt(3) / np.sqrt(9 - 6 * anisotropy**2)


def gradient_directions(n: int) -> np.ndarray:
    """Return `n` directions spread evenly: orthogonal axes for 3, else by repulsion (dipy).

    Returns
    -------
    (n, 3) float
        Unit vectors in RAS.
    """
    if n == 3:
        return np.eye(3)
    from dipy.core.sphere import HemiSphere, disperse_charges

    start = np.random.default_rng(n).standard_normal((n, 3))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    sphere, _ = disperse_charges(HemiSphere(xyz=start), 2000)
    return sphere.vertices


def scan_volume(
    head: Head,
    scanner: PhantomScanner,
    rng: np.random.Generator,
    *,
    table: TissueTable | None = None,
    lesion: tuple[float, ...] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scan a head: one b=0 and the protocol's directions.

    Parameters
    ----------
    head : Head
    scanner : PhantomScanner
    rng : numpy.random.Generator
    table : TissueTable, optional
        The nominal constants if None.
    lesion : tuple of float, optional
        Ischaemia: centre x, y, z (mm from the volume's centre, RAS) and radius (mm).

    Returns
    -------
    series : (I, J, K, 1 + N) float32
        In units of the head's white-matter b=0; I runs to the left, J to anterior, K upwards.
    affine : (4, 4) float
    bvals : (1 + N,) float
    bvecs : (1 + N, 3) float
        Along the voxel axes, as FSL has it.
    """
    protocol, fov = scanner.protocol, scanner.fov
    table = nominal_table() if table is None else table
    kspace = KSpace(protocol, fov)
    directions = gradient_directions(protocol.directions)
    extent = np.flatnonzero(BRAIN_TISSUES[head.codes].any(axis=(0, 1)))
    centre_z = (head.codes.shape[2] - 1) / 2
    first, last = extent[0] - 4, extent[-1] + 4
    positions = np.arange(first, last, protocol.spacing)
    coil = _coil(fov, len(positions), scanner.coil, rng)
    white = tissue_signal(table, protocol.contrast)[0][TISSUE_NAMES.index('white matter')]
    sd = 1 / protocol.snr
    slices = []
    for k, position in enumerate(positions):
        slab = cut_slab(head, position, protocol.thickness, fov)
        z = float(position - centre_z)
        if lesion is not None:
            slab = _with_lesion(slab, lesion, z)
        b0, trace = slab.images(table, protocol.contrast, (0.0, protocol.b_value)) / white
        attenuation = np.log(np.maximum(b0, 1e-6) / np.maximum(trace, 1e-6))
        excess = axial_excess(slab.mean(np.array([t.anisotropy for t in TISSUES.values()])))
        cosine2 = (fibre_directions((fov, fov), z) @ directions.T.astype(np.float32)) ** 2
        weighted = trace[..., None] * np.exp(
            -(attenuation * excess)[..., None] * (3 * cosine2 - 1)
        )
        clean = np.concatenate([b0[None], np.moveaxis(weighted, -1, 0)]) * coil[k]
        noisy = kspace.sample(clean) + kspace.noise(sd, len(clean), rng)
        slices.append(np.abs(kspace.reconstruct(noisy)))
    volume = np.stack(slices)  # (K, N, rows = y, columns = x)
    series = np.ascontiguousarray(volume.transpose(3, 2, 0, 1)[::-1])
    pixel = fov / kspace.recon
    affine = np.diag([-pixel, pixel, protocol.spacing, 1.0])
    affine[:3, 3] = [(fov - pixel) / 2, -(fov - pixel) / 2, positions[0] - centre_z]
    bvals = np.r_[0.0, np.full(len(directions), protocol.b_value)]
    # stored left to right reversed (negative determinant): b-vectors follow the voxel axes
    bvecs = np.r_[np.zeros((1, 3)), directions * [-1, 1, 1]]
    return series.astype(np.float32), affine, bvals, bvecs


def cut_slab(head: Head, position: float, thickness: float, fov: int) -> Slab:
    """Cut an axial slice at a position (mm, the head's array axis) as it is, without texture."""
    offsets, weights = slice_profile(thickness)
    planes = np.clip(np.rint(position + offsets).astype(int), 0, head.codes.shape[2] - 1)
    codes = np.stack([_centred(head.codes[:, :, p].T, fov) for p in planes])
    zero = np.zeros((fov, fov), np.float32)
    return Slab(codes, weights.astype(np.float32), zero, zero, zero)


def _centred(image: np.ndarray, size: int) -> np.ndarray:
    """Crop or pad an image around its centre."""
    out = np.zeros((size, size), image.dtype)
    source, target = [], []
    for n in image.shape:
        start = (size - n) // 2
        target.append(slice(max(start, 0), max(start, 0) + min(n, size)))
        source.append(slice(max(-start, 0), max(-start, 0) + min(n, size)))
    out[tuple(target)] = image[tuple(source)]
    return out


def deep_white_matter(head: Head) -> tuple[float, float, float]:
    """Return the place deepest in white matter on the right side, mm from the volume's centre."""
    white = head.codes == TISSUE_NAMES.index('white matter')
    white[: white.shape[0] // 2] = False
    depth = ndimage.distance_transform_edt(white)
    deepest = np.array(np.unravel_index(depth.argmax(), depth.shape))
    x, y, z = deepest - (np.array(head.codes.shape) - 1) / 2
    return float(x), float(y), float(z)


def _with_lesion(slab: Slab, lesion: tuple[float, ...], z: float) -> Slab:
    """Put a spherical ischaemia into a slice."""
    x0, y0, z0, radius = lesion
    size = slab.codes.shape[-1]
    y, x = np.indices((size, size), dtype=np.float32) - (size - 1) / 2
    distance = np.sqrt((x - x0) ** 2 + (y - y0) ** 2 + (z - z0) ** 2)
    weight = np.clip(radius - distance + 0.5, 0, 1) * slab.brain()
    if not weight.any():
        return slab
    infarct = Lesion(weight.astype(np.float32), t2_scale=1.3, diffusivity_scale=0.5)
    return replace(slab, lesions=(infarct,))


def _coil(fov: int, n_slices: int, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a smooth positive receive field over the volume, (K, fov, fov) float32."""
    field = smooth_field((n_slices, fov, fov), max(n_slices, fov) / 1.5, rng, order=3)
    return np.exp(amplitude * field).astype(np.float32)


def write_phantom(
    out: Path,
    heads: Sequence[Head],
    scanners: Sequence[PhantomScanner],
    *,
    seed: int = 0,
) -> list[Path]:
    """Write every head on every scanner as a BIDS dataset; every second head has an infarct.

    Parameters
    ----------
    out : Path
        A folder that does not exist yet, or is empty.
    heads : sequence of Head
    scanners : sequence of PhantomScanner
    seed : int

    Returns
    -------
    list of Path
        The images written.

    Raises
    ------
    FileExistsError
        If `out` holds files already.
    """
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f'{out}: not empty. Name a new folder, or delete this one first.')
    out.mkdir(parents=True, exist_ok=True)
    description = {
        'Name': 'Virtual travelling heads (simulated)',
        'BIDSVersion': '1.9.0',
        'DatasetType': 'raw',
        'License': 'CC0',
    }
    (out / 'dataset_description.json').write_text(json.dumps(description, indent=2) + '\n')
    (out / 'README').write_text(README)
    rows = ['participant_id\tlesion']
    images = []
    for i, head in enumerate(heads):
        subject = f'sub-{i + 1:02d}'
        lesion = (*deep_white_matter(head), LESION_RADIUS) if i % 2 else None
        rows.append(f'{subject}\t{"infarct" if lesion else "none"}')
        for j, scanner in enumerate(scanners):
            rng = np.random.default_rng([seed, i, j])
            folder = out / subject / f'ses-{scanner.label}' / 'dwi'
            folder.mkdir(parents=True)
            stem = folder / f'{subject}_ses-{scanner.label}_dwi'
            images.append(
                _write_run(stem, scanner, scan_volume(head, scanner, rng, lesion=lesion))
            )
    (out / 'participants.tsv').write_text('\n'.join(rows) + '\n')
    return images


def _write_run(
    stem: Path,
    scanner: PhantomScanner,
    scan: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> Path:
    """Write one series in the vendor's integer range, with gradients and sidecar."""
    series, affine, bvals, bvecs = scan
    stored = np.rint(series * (scanner.peak / series.max())).astype(np.int16)
    image = nib.Nifti1Image(stored, affine)
    image.header.set_xyzt_units('mm', 'sec')
    image.header.set_dim_info(freq=0, phase=1, slice=2)
    image.header.set_slope_inter(scanner.slope, 0)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    path = stem.with_name(stem.name + '.nii.gz')
    nib.save(image, path)
    stem.with_name(stem.name + '.bval').write_text(' '.join(f'{b:g}' for b in bvals) + '\n')
    rows = [' '.join(f'{v:.6f}' for v in column) for column in bvecs.T]
    stem.with_name(stem.name + '.bvec').write_text('\n'.join(rows) + '\n')
    protocol = scanner.protocol
    sidecar = {
        **scanner.sidecar,
        'EchoTime': protocol.contrast.echo_time,
        'RepetitionTime': protocol.contrast.repetition_time,
        'SliceThickness': protocol.thickness,
        'SpacingBetweenSlices': protocol.spacing,
    }
    stem.with_name(stem.name + '.json').write_text(json.dumps(sidecar, indent=2) + '\n')
    return path
