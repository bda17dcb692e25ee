"""From the results of a sweep to statistics, figures and a report.

Imports: hpc.sweep, hpc.storage, hpc.files, hpc.trainers.declaration, hpc.errors, hpc.units, hpc.checkout.
"""
