"""What the judge role does about a rollout: it writes looks to the trail, and carries verdicts out."""
