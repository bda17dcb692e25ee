"""Custom figures: the user's functions are called, and stamps distinguish old figures from new ones.

Imports: hpc.storage, hpc.files.
"""
