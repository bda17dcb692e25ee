"""Holdfast: sweeps of small models on Slurm, from a configuration to results that are written once.

Imports: aggregate, training.contract, and in functions other folders of training; tests/test_imports.py has the order.
"""
