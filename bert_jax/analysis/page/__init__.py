"""The page of one or several run folders: one HTML file that needs neither a server nor a network."""
