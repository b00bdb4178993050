"""What a migration of a recorded application would bring: `precopy.forecast`, ``precopy forecast``.

`precopy.forecast.forecast` has the function; nothing is imported here, so that the command line can
take its parser without the rest.
"""
