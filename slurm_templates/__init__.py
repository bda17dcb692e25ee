"""Plain bash that tasks run through, and cluster profiles."""
