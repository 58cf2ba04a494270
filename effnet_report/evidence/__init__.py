"""The only door to records, and to the tables of the source document."""
