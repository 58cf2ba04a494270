"""The model, freezing, training and study logic behind the report."""
