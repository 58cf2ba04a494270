"""What each page of the book shows: its sentences, tables and figures. Imports no torch."""
