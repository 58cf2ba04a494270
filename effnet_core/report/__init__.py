"""From records to tables, figures and sentences. Imports no torch."""
