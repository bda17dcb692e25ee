"""`holdfast check stats`: do the intervals cover as often as they promise?

Imports: aggregate.analysis and what lies below it.
"""
