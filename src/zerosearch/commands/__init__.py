"""One thin file a command: parse, build the parts, run, print."""
