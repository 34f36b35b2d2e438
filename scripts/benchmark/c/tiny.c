/* The smallest command there is: linked statically, it says its argument, or nothing. */
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 2)
        return 0;
    ssize_t size = strlen(argv[1]);
    argv[1][size] = '\n'; /* in place of the zero: nobody looks at it any more */
    return write(1, argv[1], size + 1) != size + 1;
}
