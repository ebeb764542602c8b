# needs: pare-prune
# Plans that are not for the model, or were edited wrongly: one sentence, and nothing is written.
try() { # prints the command, what it says, and its exit code unless that is 0
    echo "\$ $*"
    code=0
    "$@" 2>&1 || code=$?
    [ $code = 0 ] || echo "exit $code"
}

edited() { # a sed program: what becomes of the plan
    sed "$1" plan.json >edited.json
    echo
    diff plan.json edited.json | sed -n '/^>/{s/[0-9a-f]\{64\}/N/;p;}'
    try pare-prune m.pare -o x.pare --plan edited.json
}

pare-convert "$TESTS/data/goldens/bert-cls" --no-tokenizer -o m.pare
pare-prune m.pare -o once.pare --heads-list 0:1 --plan-out plan.json -q
try pare-prune once.pare -o twice.pare --plan plan.json
edited 's/"model_sha256":"[0-9a-f]*",//'
edited 's/"model_sha256":"[0-9a-f]*"/"model_sha256":"here"/'
edited 's/"pare_plan":1/"pare_plan":2/'
edited 's/\[0,2,3\]/[]/'
edited 's/\[0,2,3\]/[0,3,2]/'
edited 's/\[0,2,3\]/[0,2,4]/'
edited 's/"layer":1/"layer":1,"ffn":[]/'
edited 's/"layer":1/"layer":1,"units":[1]/'
edited 's/"layer":1/"layer":0/'
edited 's/"layers":\[/"layers":[]}}/;/{"layer"/d'
edited 's/"encoder"/"decoder"/'
echo
try pare-prune m.pare -o x.pare --plan absent.json
try ls -A
