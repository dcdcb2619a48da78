"""Sources: files, folders, archives and URLs -> documents and rows, in any format and encoding. Reading streams."""
