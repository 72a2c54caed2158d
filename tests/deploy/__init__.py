"""What operators install."""
