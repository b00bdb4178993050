set -e
cat > main.c <<'E'
#include <stdio.h>
int f(void);
int main(void) { printf("%d\n", f()); return 0; }
E
cat > f.c <<'E'
#include "f.h"
int f(void) { return X; }
E
echo '#define X 42' > f.h
gcc -O1 -c f.c
gcc -save-temps main.c f.o -o main
./main > out
gcc -flto -O2 -pipe main.c f.c -o lto
ar rcs lib.a f.o
printf 'all: made\nmade: main.c lib.a\n\tgcc main.c lib.a -o made\n' > Makefile
make -s
