"""A trainer by name: its source, its declaration, its code and data as digests, the function that trains.

Imports: hpc.storage, hpc.sweep and what lies below them.
"""
