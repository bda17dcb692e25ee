"""Where a sweep lies: paths, what its documents say, results, checkpoints. Knows no Slurm and no trainer.

Imports: hpc.sweep, hpc.files and what lies below them.
"""
