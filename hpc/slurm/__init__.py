"""Slurm: its commands, what they answer, the states of its jobs; cluster profiles, and the job script made of one.

Imports: hpc.faults and what lies below it.
"""
