"""What every room uses: errors, files, console, processes. Imports nothing of ours."""
