"""Orientations that every geometric step must stand."""

import numpy as np


def oblique(degrees: float, zooms: tuple[float, float, float]) -> np.ndarray:
    """Return a RAS affine turned about the x axis, then about z."""
    a, b = np.deg2rad(degrees), np.deg2rad(degrees / 2)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_x @ np.diag(zooms)
    affine[:3, 3] = (-11.0, 7.0, 23.0)
    return affine


def along(columns: list[list[float]]) -> np.ndarray:
    """Return an affine whose voxel axes run along these directions (mm)."""
    affine = np.eye(4)
    affine[:3, :3] = np.transpose(columns)
    affine[:3, 3] = (5.0, -9.0, 3.0)
    return affine


AFFINES = {
    'RAS': along([[2, 0, 0], [0, 2, 0], [0, 0, 2.5]]),
    'LAS': along([[-2, 0, 0], [0, 2, 0], [0, 0, 2.5]]),
    'LPS': along([[-2, 0, 0], [0, -2, 0], [0, 0, 2.5]]),
    'PSL, sagittal': along([[0, -2, 0], [0, 0, 2], [-2.5, 0, 0]]),
    'RSA, coronal': along([[2, 0, 0], [0, 0, 2], [0, 2.5, 0]]),
    'oblique': oblique(25, (2, 2, 2.5)),
}


def world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Return the position of each voxel, (I, J, K, 3) mm."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
