"""What is learned: a batch and a model give a loss as a sum with its weight."""
