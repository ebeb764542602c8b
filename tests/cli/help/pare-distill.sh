# needs: pare-distill
pare-distill --help
