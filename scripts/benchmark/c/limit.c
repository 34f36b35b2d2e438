/* The physical limit: start a command for each node, read its output to the end, wait for it.
 *
 *     limit CORES NODES FANOUT COMMAND [ARGUMENT...]
 *
 * One process a core, each with its part of the nodes and of the fanout in flight. `%h` in an argument
 * is the node. Output is dropped. Exits with 1 when a command fails.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct child {
    pid_t pid;
    int fd;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static char *fill_in(const char *template, long node)
{
    const char *mark = strstr(template, "%h");
    char *word;
    if (mark == NULL)
        return strdup(template);
    if (asprintf(&word, "%.*snode%ld%s", (int)(mark - template), template, node, mark + 2) < 0)
        fail("asprintf");
    return word;
}

static void start(struct child *child, char **template, long node, int poll)
{
    posix_spawn_file_actions_t actions;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = child};
    char *argv[64];
    int ends[2], count = 0, error;

    while (template[count] != NULL && count < 63) {
        argv[count] = fill_in(template[count], node);
        count++;
    }
    argv[count] = NULL;
    if (pipe2(ends, O_CLOEXEC) != 0)
        fail("pipe2");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    error = posix_spawn(&child->pid, argv[0], &actions, NULL, argv, environ);
    if (error != 0) {
        errno = error;
        fail(argv[0]);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    while (count > 0)
        free(argv[--count]);
    child->fd = ends[0];
    if (epoll_ctl(poll, EPOLL_CTL_ADD, child->fd, &event) != 0)
        fail("epoll_ctl");
}

static int work(long first, long stop, int fanout, char **template)
{
    static char buffer[65536];
    struct child *children = calloc(fanout, sizeof *children);
    struct epoll_event events[64];
    int poll = epoll_create1(EPOLL_CLOEXEC), running = 0, failed = 0, status;

    if (poll < 0 || children == NULL)
        fail("set-up");
    while (running < fanout && first < stop)
        start(&children[running++], template, first++, poll);
    while (running > 0) {
        int count = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            struct child *child = events[i].data.ptr;
            ssize_t size = read(child->fd, buffer, sizeof buffer);
            if (size > 0)
                continue;
            /* A child in the middle of its exec may hold a copy: closing alone would not end the events. */
            epoll_ctl(poll, EPOLL_CTL_DEL, child->fd, NULL);
            close(child->fd);
            if (waitpid(child->pid, &status, 0) != child->pid || status != 0)
                failed = 1;
            if (first < stop)
                start(child, template, first++, poll);
            else
                running--;
        }
    }
    return failed;
}

int main(int argc, char **argv)
{
    long cores, nodes, fanout;
    int failed = 0, status;

    if (argc < 5 || (cores = atol(argv[1])) < 1 || (nodes = atol(argv[2])) < 1 ||
        (fanout = atol(argv[3])) < cores) {
        fprintf(stderr, "usage: limit CORES NODES FANOUT COMMAND [ARGUMENT...]\n");
        return 2;
    }
    for (long core = 0; core < cores; core++) {
        pid_t pid = fork();
        if (pid < 0)
            fail("fork");
        if (pid == 0)
            _exit(work(1 + nodes * core / cores, 1 + nodes * (core + 1) / cores,
                       (int)(fanout / cores), argv + 4));
    }
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}
