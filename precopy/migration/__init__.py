"""The live migration."""
