"""The ways to log in that do not go through a chat: WeChat's web pages, and mini programs."""
