"""What notebooks are made with, whatever they are about: runs, records, claims, intervals, tables, style."""
