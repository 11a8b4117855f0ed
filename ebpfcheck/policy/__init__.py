"""What users lay down about findings: what is accepted and until when, and how they count."""
