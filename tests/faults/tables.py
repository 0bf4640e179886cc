"""All faults, in the order of the table."""

from tests.faults import array, children, disk, grouping, kills, sandbox, signals, tampering, twins

MODULES = (kills, children, signals, disk, array, twins, grouping, sandbox, tampering)

FAULTS = tuple(module.FAULT for module in MODULES)
