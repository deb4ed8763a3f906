"""Statistics, tables and figures of the paper's experiments, from the folders of finished runs alone."""
