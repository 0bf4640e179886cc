"""What happens to a machine while the command runs, done to the command for real."""
