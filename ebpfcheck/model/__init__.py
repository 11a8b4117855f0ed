"""What is known (facts, snapshot), what is said (finding, report), and what a check is."""
