"""Model servers that ship with Fairlead, one folder each. They import nothing else of Fairlead but the clock."""
