"""Gates: from sums of losses to verdicts on a candidate, valid however often one looks."""
