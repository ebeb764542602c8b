# needs: pare-convert
pare-convert --help
