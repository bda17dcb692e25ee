"""A sweep in Weights & Biases: the mirror that tasks and commands write, and what is read back.

Imports: hpc.trainers, hpc.storage, hpc.sweep and what lies below them.
"""
