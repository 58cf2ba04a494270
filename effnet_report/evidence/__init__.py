"""What a study left as tables, and the tables of the source document."""
