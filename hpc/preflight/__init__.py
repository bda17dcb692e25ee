"""`holdfast check cluster`: what a cluster reports of itself, what a node really does, what that means for a sweep.

Imports: hpc.node, hpc.submission, hpc.planning and what lies below them.
"""
