"""Tables and figures as Markdown, LaTeX, CSV and HTML."""
