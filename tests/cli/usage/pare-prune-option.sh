# needs: pare-prune
# An unknown option is a usage error, and the message names it.
pare-prune --no-such-option
