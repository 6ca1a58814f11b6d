"""What is asked, what is right, and how far apart right implementations are. Chapters 9 and 11 of spec/."""
