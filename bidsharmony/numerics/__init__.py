"""Arrays in, arrays out; sees no other room."""
