"""Reports of a check: text, HTML, Markdown, JSON, JUnit, CSV and Gradescope."""
