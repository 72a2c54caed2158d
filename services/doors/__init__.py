"""The ways to log in that do not go through an account's chat: WeChat's web pages, mini programs."""
