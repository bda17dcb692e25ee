"""A plan into the queue of Slurm exactly once, or into worker processes here: intents, arrays, the lock, what is live.

Imports: hpc.planning, hpc.sandbox, hpc.trainers, hpc.slurm, hpc.storage, hpc.sweep and what lies below them.
"""
