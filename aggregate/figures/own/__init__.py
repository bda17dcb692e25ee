"""Figures of the user's own: their functions called, and the stamps that tell old figures from new ones.

Imports: hpc.storage, hpc.files.
"""
