"""Who hears of alerts beside the alert topic."""
