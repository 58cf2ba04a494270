"""What a finished study says about its images: labels to check, and cues outside the object."""
