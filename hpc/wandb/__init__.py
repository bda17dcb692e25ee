"""A sweep's mirror in Weights & Biases: one run per cell, written from published files, compared with the server.

Imports: hpc.storage, hpc.sweep and what lies below them.
"""
