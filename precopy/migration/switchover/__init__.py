"""Stopping the application, deciding who is in charge, starting it; or taking it back."""
