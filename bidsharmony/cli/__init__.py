"""What a person types; only this room exits."""
