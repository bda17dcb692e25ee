"""`holdfast init`: a configuration and a profile to start from, by answers or from a command line that trains once.

Imports: hpc.config, hpc.slurm and what lies below them.
"""
