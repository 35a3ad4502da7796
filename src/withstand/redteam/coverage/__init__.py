"""What a red team has tested."""
