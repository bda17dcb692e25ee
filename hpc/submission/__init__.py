"""A plan into Slurm's queue exactly once, or into worker processes here: lock, intents, arrays, what is live or void.

Imports: hpc.planning, hpc.sandbox, hpc.trainers, hpc.slurm, hpc.storage, hpc.sweep and what lies below them.
"""
