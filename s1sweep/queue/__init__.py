"""Work that was submitted to a store, and the service that runs it."""
