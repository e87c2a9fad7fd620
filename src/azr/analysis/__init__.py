"""The one place that computes figures, alarms and statistics from a run's records."""
