"""How long an endpoint will take: learned online from the requests that ended there."""
