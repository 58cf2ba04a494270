"""Committing records, and repeating committed runs to the bit."""
