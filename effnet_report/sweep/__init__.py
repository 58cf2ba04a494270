"""Running what is missing of a study, planning, verifying and publishing it."""
