"""What measures an echo from the other end."""
