# needs: pare
pare --help
