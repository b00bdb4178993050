"""The live migration (paper, section 2.2): move an application's files while it runs."""
