"""Plan a study and execute its missing runs."""
