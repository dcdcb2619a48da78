"""Where a run computes: processes, device, precision, reductions."""
