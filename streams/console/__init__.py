"""What a person at a terminal does with the topics: send events, look at what came out, replay what failed."""
