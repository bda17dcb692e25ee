"""From the results of a sweep to statistics, figures and a report.

Imports: hpc.sweep, hpc.storage, hpc.trainers.declaration, hpc.errors, hpc.checkout.
"""
