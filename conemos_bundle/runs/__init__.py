"""A trained model as files: its record, weights and metadata."""
