"""Model families, their layers, and weights in and out of the Hugging Face layout."""
