"""Files and folders that a crash leaves whole and a stranger's link leads nowhere. Knows no file of a sweep by name.

Imports: hpc.errors, hpc.protocol, hpc.units.
"""
