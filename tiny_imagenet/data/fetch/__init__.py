"""From a URL or a file to a verified, extracted folder."""
