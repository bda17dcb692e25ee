"""What a command does with a sweep: resolve it, look at it once, run it here or queue it in rounds.

Imports: everything of hpc but hpc.cli; aggregate.
"""
