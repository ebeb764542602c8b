# needs: pare-bench
# An unknown option is a usage error, and the message names it.
pare-bench --no-such-option
