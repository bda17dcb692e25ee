"""What runs on a compute node: task.py begins, workers.py splits the task over processes, pack.py chooses cells,
trial.py calls the trainer, training_run.py is what it reports to, attempt.py keeps the files of an attempt; beside them
when states are saved and restored, what a stop or a failure means, and when a cell is given up.

Imports: hpc.wandb, hpc.trainers, hpc.storage, hpc.sweep and what lies below them; never pydantic, submitit or click.
"""
