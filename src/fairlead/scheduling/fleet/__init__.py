"""The state that decisions work on: nodes, who is on them and what they hold; changed on trial, and undone."""
