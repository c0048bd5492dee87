"""From evidence to the next stage: how a candidate becomes the champion, or goes."""
