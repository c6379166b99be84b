"""Output of tables and plots as Markdown, LaTeX, CSV and HTML."""
