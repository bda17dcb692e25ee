"""Slurm: its commands, what they answer, the states of its jobs; cluster profiles, and the job script made of one.

Imports: hpc.storage, hpc.sweep and what lies below them.
"""
