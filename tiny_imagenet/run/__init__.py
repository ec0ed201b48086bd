"""A run on disk, and resuming it exactly."""
