"""What the directories of runs tell; nothing here needs PyTorch."""
