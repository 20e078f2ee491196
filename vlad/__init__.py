"""vlad: finds the moments of a surveillance video that do not belong, shows when, and says why."""
