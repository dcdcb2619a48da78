"""From files to batches: sources, preparation, token shards, rows, the loader."""
