"""Classical models on the same images, without fine-tuning."""
