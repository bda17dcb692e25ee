"""`holdfast check stats`: do the intervals cover, and do the verdicts err, as often as they promise?

Imports: aggregate.analysis and what lies below it.
"""
