"""What is promised when Redis, MongoDB or the way to them breaks: really stopped, paused, cut."""
