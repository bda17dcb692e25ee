"""The built-in experiment: Global Workspaces trained in packs; and the contract that every trainer keeps.

Imports: nothing of hpc or aggregate.
"""
