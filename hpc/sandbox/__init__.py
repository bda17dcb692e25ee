"""A real Slurm cluster on this machine, without root.

Imports: hpc.slurm and what lies below it.
"""
