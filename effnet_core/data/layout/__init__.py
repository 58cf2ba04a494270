"""How images lie in folders and tables: which are read, their classes, parts and groups."""
