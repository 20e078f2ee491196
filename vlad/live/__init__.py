"""What goes on while cameras run: streams, scores as they come, alarms, and what goes out of them."""
