"""Task data: rows with labels, answers or preferences -> batches."""
