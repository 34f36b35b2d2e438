"""Workers: what a user makes to have commands run. One module for each kind."""
