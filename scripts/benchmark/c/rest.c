/* Sleep for 0.5 to 1.9 s: the same word sleeps as long, and different words sleep differently.
 *
 *     rest WORD
 */
#include <time.h>

int main(int argc, char **argv)
{
    unsigned hash = 2166136261u;
    struct timespec time;
    long milliseconds;

    for (const char *at = argc > 1 ? argv[1] : ""; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    milliseconds = 500 + (hash >> 8) % 1400;
    time.tv_sec = milliseconds / 1000;
    time.tv_nsec = milliseconds % 1000 * 1000000;
    return nanosleep(&time, 0) != 0;
}
