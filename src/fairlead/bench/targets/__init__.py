"""What differs between the APIs that are asked: how a request is written and how its answer is read."""
