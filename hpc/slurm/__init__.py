"""What Holdfast asks of Slurm, and what Slurm answers. Profiles, the job script.

Imports: hpc.storage, hpc.sweep and what lies below them.
"""
