/* The floor: the system calls of a submission and nothing else.
 *
 *   bare plain   SPOOL SAMPLE COUNT          create, write, close, rename
 *   bare durable SPOOL SAMPLE THREADS MSEC   create, write, fsync, close, rename, fsync(directory)
 *
 * Writes the bytes of SAMPLE, a task file as unspool wrote it, into SPOOL under a hidden name and
 * renames it to one of the sample's length. Prints the number of tasks and nanoseconds.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLE_BYTES_MAX = 65536, NAME_BYTES_MAX = 256, THREADS_MAX = 64, DIGITS = 10 };

static char sample[SAMPLE_BYTES_MAX];
static ssize_t sample_bytes;
static char name_stem[NAME_BYTES_MAX];
static int spool_fd, is_durable;
static long long deadline;
static pthread_barrier_t barrier;

static void die(const char *what) {
    fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
    exit(1);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void submit(long number) {
    char aside[NAME_BYTES_MAX + DIGITS + 2], *name = aside + 1;
    snprintf(aside, sizeof aside, ".%s%0*ld", name_stem, DIGITS, number);
    int file = openat(spool_fd, aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) die("create");
    if (write(file, sample, sample_bytes) != sample_bytes) die("write");
    if (is_durable && fsync(file) != 0) die("fsync of the file");
    if (close(file) != 0) die("close");
    if (renameat(spool_fd, aside, spool_fd, name) != 0) die("rename");
    if (is_durable && fsync(spool_fd) != 0) die("fsync of the directory");
}

static void *submit_until_deadline(void *argument) {
    long first = (long)(intptr_t)argument * 10000000L, number = first;
    pthread_barrier_wait(&barrier);
    while (now() < deadline) submit(number++);
    return (void *)(intptr_t)(number - first);
}

static void open_all(const char *spool, const char *path) {
    int file = open(path, O_RDONLY);
    if (file < 0) die(path);
    sample_bytes = read(file, sample, sizeof sample);
    if (sample_bytes <= 0) die(path);
    close(file);
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    snprintf(name_stem, sizeof name_stem, "%s", basename(copy));
    size_t length = strlen(name_stem);
    if (length > DIGITS) name_stem[length - DIGITS] = '\0';
    spool_fd = open(spool, O_RDONLY | O_DIRECTORY);
    if (spool_fd < 0) die(spool);
}

static long run_threads(long threads, long milliseconds, long long *started) {
    pthread_t running[THREADS_MAX];
    long total = 0;
    pthread_barrier_init(&barrier, NULL, threads + 1);
    deadline = now() + milliseconds * 1000000LL;
    for (long index = 0; index < threads; index++)
        if (pthread_create(&running[index], NULL, submit_until_deadline, (void *)(intptr_t)index))
            die("pthread_create");
    pthread_barrier_wait(&barrier);
    *started = now();
    for (long index = 0; index < threads; index++) {
        void *count;
        pthread_join(running[index], &count);
        total += (long)(intptr_t)count;
    }
    return total;
}

int main(int count, char **arguments) {
    if (count < 5) { fprintf(stderr, "bare: see the head of bare.c\n"); return 2; }
    open_all(arguments[2], arguments[3]);
    long tasks = atol(arguments[4]);
    long long started;
    if (strcmp(arguments[1], "durable") == 0 && count == 6 && tasks <= THREADS_MAX) {
        is_durable = 1;
        tasks = run_threads(tasks, atol(arguments[5]), &started);
    } else {
        started = now();
        for (long number = 0; number < tasks; number++) submit(number);
    }
    printf("%ld %lld\n", tasks, now() - started);
    return 0;
}
