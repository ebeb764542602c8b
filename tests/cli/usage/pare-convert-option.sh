# needs: pare-convert
# An unknown option is a usage error, and the message names it.
pare-convert --no-such-option
