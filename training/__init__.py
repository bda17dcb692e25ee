"""The built-in experiment: Global Workspaces trained in packs; and the contract that any trainer keeps.

Imports: nothing of hpc or aggregate.
"""
