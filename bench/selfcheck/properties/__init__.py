"""What every criterion, head and recipe must do, whoever wrote it: `bench check`, pytest items, our own tests."""
