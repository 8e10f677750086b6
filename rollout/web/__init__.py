"""The HTTP port: health, metrics, the API and inbound webhooks."""
