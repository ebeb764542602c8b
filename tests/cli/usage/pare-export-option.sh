# needs: pare-export
# An unknown option is a usage error, and the message names it.
pare-export --no-such-option
