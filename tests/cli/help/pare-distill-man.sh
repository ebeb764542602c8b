# needs: pare-distill
# Every option of --help is in the manual page.
sed 's/\\//g' "$TESTS/../man/pare-distill.1" >page
pare-distill --help | grep -o '^ .*--[][a-z0-9-]*' | sed 's/.*--//; s/.*]//' | sort -u >options
while read -r option; do
    grep -q -e "[-]]\{0,1\}${option}fR" page || echo "no --$option"
done <options
awk 'END { print (NR > 60 ? "many options" : NR) }' options
