"""Ways to get a cluster and to submit to it. None yet: `placement.ray_address` joins a cluster that runs."""
