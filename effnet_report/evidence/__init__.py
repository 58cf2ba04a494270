"""Records of a study as tables, and the tables of the source document."""
