"""What is asked, what is right, and how far right implementations lie apart. Chapters 9 and 11 of spec/."""
