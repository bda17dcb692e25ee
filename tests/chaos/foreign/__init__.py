"""Sweep directories that nobody of ours has made: mutated ones, and what the commands that read them may do then."""
