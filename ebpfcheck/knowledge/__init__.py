"""What is known of Calico's releases: thresholds, known bugs and needs, each with its source."""

KNOWLEDGE_DATE = "2026-11-22"
"""The day on which the tables beside this file were last compared with their sources."""
