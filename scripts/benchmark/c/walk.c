/* Keep a processor busy until the parent ends, for 120 s at most.
 *
 *     walk BYTES     go through so much memory again and again, a cache line at a time; 0: only compute
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    volatile unsigned char *memory = size ? calloc(size, 1) : NULL;
    volatile unsigned long sum = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(120);
    if (size && !memory)
        return 1;
    for (;;) {
        if (!size)
            sum = sum * 31 + 1;
        for (size_t at = 0; at < size; at += 64)
            memory[at]++;
    }
}
