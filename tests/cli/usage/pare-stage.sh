# needs: pare
pare no-such-stage
