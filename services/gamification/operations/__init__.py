"""The verbs of gamification, one noun a file."""
