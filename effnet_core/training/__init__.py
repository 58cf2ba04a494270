"""Schedules, the training loop and the evaluation of a trained model."""
