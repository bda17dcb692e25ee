"""What runs on a compute node: a task, its packs, one attempt at a pack, what the run object of a trainer does.

Imports: hpc.wandb, hpc.trainers, hpc.storage, hpc.sweep and what lies below them; never pydantic, submitit or click.
"""
