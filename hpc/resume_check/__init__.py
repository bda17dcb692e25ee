"""`holdfast check resume`: train cells undisturbed and again under kills, and compare them bit by bit.

Imports: hpc.node, hpc.submission, hpc.planning and what lies below them.
"""
