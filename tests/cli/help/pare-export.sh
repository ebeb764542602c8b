# needs: pare-export
pare-export --help
