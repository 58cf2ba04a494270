"""What a study is and what a run leaves: the ground that everything else stands on."""
