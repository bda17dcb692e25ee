"""Holdfast: sweeps of small models on Slurm, from a configuration to results that are written once.

Imports: aggregate, training.contract; see tests/test_imports.py for the order of its folders.
"""
