"""Cleaning: what is repaired, removed and dropped, one document at a time."""
