# needs: pare-run
pare-run --help
