"""How the parts of a server are made, a module a role. Called by `services.container` alone."""
