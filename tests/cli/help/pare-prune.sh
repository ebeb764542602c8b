# needs: pare-prune
pare-prune --help
