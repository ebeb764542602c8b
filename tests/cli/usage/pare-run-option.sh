# needs: pare-run
# An unknown option is a usage error, and the message names it.
pare-run --no-such-option
