"""What a hostile or a private input may not do, each promise with the test that shows it."""
