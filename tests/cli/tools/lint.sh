# Every rule of tools/lint, broken once. The style has its own tool, which is left out here.
mkdir bin tools core formats prune quantize runtime tests
printf '#!/bin/sh\n' >bin/clang-format
chmod +x bin/clang-format
PATH=$PWD/bin:$PATH
cp "$TESTS/../tools/lint" tools/
cat >tools/doorkeepers.txt <<END
# header        files        how many
cjson/cJSON.h   core/json.c  one
zip.h           formats/*.c  one
zlib.h          formats/*.c  one
END
mach=/ho
mach=${mach}me

echo 'Clean files are met with silence.'
cat >core/good.h <<END
/* What it is for; malloc(), bert and "t5" may be spoken of. */
#ifndef PARE_CORE_GOOD_H
#define PARE_CORE_GOOD_H
#include <stdio.h>
#endif
END
cp core/good.h formats/pare_file.h
sed -i s/CORE_GOOD/FORMATS_FILE/ formats/pare_file.h
tools/lint

cat >prune/bad.c <<END
#include "prune/bad.h"
#include "quantize/q.h"
#include "bad.h"
#include <zip.h>
#include <foo.h>
#include <cjson/cJSON.h>
int pare_bert(void), BertModel(void), at50, opt;
static const char *x = "T5", *y = "malloc(3) \" // atoi()";
static const char *z = "opt";
int f(struct s *p,
      int b) {
    char *m = malloc(3); // TO$(:)DO x
    p->free(m);
    free(m);
    printf("x");
    fprintf(stderr, "$mach/me");
    return atoi(m);
}
$(printf '/* %95s */' wide)
END
{
    echo '/* Functions of 80 and 81 lines. */'
    for name in g h; do
        echo "int $name(void) {"
        for i in $(seq 78); do echo "    x($i);"; done
        [ $name = g ] || echo '    y();'
        echo '}'
    done
} >prune/long.c
for i in $(seq 801); do echo '/* x */'; done >prune/longer.c
echo '/* x */' >quantize/q.h
printf '/* x */\n#ifndef OTHER_H\n#define OTHER_H\n#endif\n' >prune/bad.h
cp prune/bad.h prune/bad2.h
sed -i 's/OTHER_H/PARE_CORE_GOOD_H/' prune/bad2.h
{
    cat core/good.h
    echo '#include "prune/bad.h"'
} | sed 's/_GOOD/_LOW/' >core/low.h
{
    sed 's/CORE_GOOD/RUN/' core/good.h
    echo '#include "formats/pare_file.h"'
    echo '#include "formats/other.h"'
} >runtime/bad.h
sed 's/CORE_GOOD/OTHER/' core/good.h >formats/other.h
for name in one two; do printf '/* x */\n#include <zlib.h>\n' >formats/$name.c; done
printf '/* x */\nint f(char *p) {\n    free(p);\n    return pare_bert();\n}\n' >tests/fine.c

echo 'The others are named, one finding a line.'
tools/lint
