"""Which cells run, in which packs, in which arrays, and what that costs. Writes nothing.

Imports: hpc.slurm, hpc.storage, hpc.sweep and what lies below them.
"""
