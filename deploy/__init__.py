"""What operators install, and a whole cluster on one machine to try it."""
