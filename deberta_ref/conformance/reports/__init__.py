"""A verdict on a port, told four ways: on the terminal, as JSON, as JUnit XML, and as a page. Chapter 13 of spec/."""
