# Every option of each program's --help is in its manual page.
for program in bench convert distill export info prune quantize run verify; do
    sed 's/\\f.//g; s/\\//g' "$TESTS/../man/pare-$program.1" >page
    pare-$program --help |
        sed -n 's/^ \{2,6\}\(-[a-zA-Z], \)\{0,1\}--\(\[no-\]\)\{0,1\}\([a-z0-9-]*\).*/\3/p' >options
    while read -r option; do
        grep -q -e "--\(\[no-\]\)\{0,1\}$option\([^a-z0-9-]\|\$\)" page ||
            echo "pare-$program: no --$option"
    done <options
    awk -v program="$program" 'END { if (NR < 6) print program ": few options: " NR }' options
done
