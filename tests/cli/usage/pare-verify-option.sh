# needs: pare-verify
# An unknown option is a usage error, and the message names it.
pare-verify --no-such-option
