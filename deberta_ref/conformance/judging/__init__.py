"""The verdict: case by case, then as a whole. Chapter 13 of spec/."""
