"""Students whose relation to their teacher is known by construction, to try scores on."""
