# needs: pare-verify
pare-verify --help
