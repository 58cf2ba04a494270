"""From a folder of images to a study: what is in it, and a protocol that fits this machine."""
