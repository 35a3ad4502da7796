"""What a monitor says as pages and files: its sections written as HTML, Markdown and JSON, and kept in the store."""
