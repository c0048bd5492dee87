"""From alarms to alerts: stories, titles, severities."""
