"""Plain bash that tasks run through, cluster profiles, and the template with every configuration key."""
