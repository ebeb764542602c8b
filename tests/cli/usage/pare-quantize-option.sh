# needs: pare-quantize
# An unknown option is a usage error, and the message names it.
pare-quantize --no-such-option
