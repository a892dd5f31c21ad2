"""The report: one page of a profile that needs nothing else, made of its records and of the notebooks as they ran.

`text` turns Markdown into HTML and formulas into MathML, `ran` takes an executed notebook to pieces, `whole` puts the
page together, in the frame of `report.html` and the style of `report.css`.
"""

NAME = "report.html"  # in the profile's folder of figures/
