"""From evidence to verdicts: estimates with intervals, and the claims they decide."""
