"""From YAML and a command line to the definition of a sweep; every fault is one line that names its place and its fix.

Imports: hpc.trainers, hpc.slurm, hpc.storage, hpc.sweep and what lies below them.
"""
