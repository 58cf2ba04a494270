"""The design of a study, the records of its runs, and the sweep over them."""
