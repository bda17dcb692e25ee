"""What plan, run, submit and redo do below their options: find the sweep that is meant, look at it once, run its tasks
here or queue them in rounds.

Imports: everything of hpc but hpc.cli, hpc.api and hpc.starter; aggregate.
"""
