"""Where a sweep lies: paths, files that survive a crash, results, checkpoints. Knows no Slurm and no trainer.

Imports: hpc.sweep and what lies below it.
"""
