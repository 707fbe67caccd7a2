/// The version of the server and its commands.
public let hugememVersion = "0.1.0"
