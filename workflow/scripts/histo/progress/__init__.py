"""What is shown while the workflow runs: lines on the terminal, remaining time, curves. Results do not depend on it."""
