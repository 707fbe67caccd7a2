"""What the tests are written with: a server, clients, a control group, and ways to compare."""
