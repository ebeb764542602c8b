# needs: pare-bench
pare-bench --help
