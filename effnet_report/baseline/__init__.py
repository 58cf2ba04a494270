"""Classical models: what the same images give without fine-tuning."""
