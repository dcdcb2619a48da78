"""One file per verb: reads the config, builds the parts, acts. The only place where config meets objects."""
