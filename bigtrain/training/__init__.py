"""The loop, and what it steps with: optimizers, schedules, checkpoints, progress."""
