"""The HTTP faces of the simulated WeChat: one module per host name or audience."""
