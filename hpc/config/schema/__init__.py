"""The keys of a configuration file, their types, bounds and defaults; nothing else.

Imports: hpc.slurm, hpc.sweep and what lies below them.
"""
