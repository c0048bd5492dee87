"""The demo: the flights of 2013 through a real broker, a real Redis and a model that was trained a moment ago."""
