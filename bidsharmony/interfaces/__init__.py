"""Nipype shells: load with nibabel, call one function, save."""
