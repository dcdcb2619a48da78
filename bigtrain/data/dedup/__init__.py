"""Duplicates: exact by document and by paragraph, near by MinHash, and which document of a cluster is kept."""
