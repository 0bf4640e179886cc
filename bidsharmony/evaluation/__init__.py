"""The batch-effect audit of the group level."""
