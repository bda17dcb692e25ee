"""A real Slurm cluster on this machine, without root.

Imports: hpc.slurm, hpc.storage and what lies below them.
"""
