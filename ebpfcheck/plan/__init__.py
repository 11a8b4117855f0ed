"""What is to be done: pure functions from a snapshot and its report to ordered steps, there and back."""
