/* Sleep for 0.5 to 1.9 s: the same word sleeps as long each time, others mostly differently.
 *
 *     rest WORD
 */
#include <time.h>

int main(int argc, char **argv)
{
    unsigned hash = 2166136261u;
    struct timespec span;
    long milliseconds;

    for (const char *at = argc > 1 ? argv[1] : ""; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    milliseconds = 500 + (hash >> 8) % 1400;
    span.tv_sec = milliseconds / 1000;
    span.tv_nsec = milliseconds % 1000 * 1000000;
    return nanosleep(&span, NULL) != 0;
}
