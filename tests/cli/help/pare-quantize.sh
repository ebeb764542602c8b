# needs: pare-quantize
pare-quantize --help
