"""The kinds of cases: of each, a function that writes files and says what to type."""
