"""Support for the tests: a server, clients, a control group, and comparisons."""
