/* Shared by the generators: the payload, the clock, the latencies, the line of JSON. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 512, MARKS = 64 * 32 };

struct options {
    int port, connections, size, sources, source, echoes, reset, tls12, batched;
    uint64_t window; /* stream: maximum bytes in flight on a connection; 0: as many as the kernel accepts */
    double seconds; /* 0: one round for each line on standard input */
};

struct round { uint64_t messages, bytes, errors, lost, nanoseconds, cpu; uint32_t marks[MARKS]; };

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Message `seq` of connection `id`: every 8 bytes encode the connection, the message and the offset. */
static inline void fill(char *to, int size, uint64_t id, uint64_t seq) {
    uint64_t word = id * 0x9E3779B97F4A7C15ull + seq * 0xC2B2AE3D27D4EB4Full;
    for (int i = 0; i < size; i += 8, word += 0x165667B19E3779F9ull) memcpy(to + i, &word, size - i < 8 ? size - i : 8);
}

/* Latencies in buckets at most 1/16 wide: exact below 32 ns, then 16 per octave. */
static inline void mark(struct round *r, uint64_t ns) {
    int octave = ns < 32 ? 0 : 59 - __builtin_clzll(ns);
    r->marks[octave * 16 + (ns >> octave)]++;
}

static inline double percentile_us(const struct round *r, double p) {
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < MARKS; i++) total += r->marks[i];
    for (int i = 0; i < MARKS; i++)
        if ((seen += r->marks[i]) > total * p) {
            int octave = i < 32 ? 0 : i / 16 - 1;
            return (double)((uint64_t)(i - octave * 16) << octave) / 1e3;
        }
    return 0;
}

static inline void report(const struct round *r) {
    printf("{\"messages\": %lu, \"bytes\": %lu, \"seconds\": %.6f, \"errors\": %lu, \"lost\": %lu, \"cpu_seconds\": %.6f, \"p50_us\": %.3f, \"p99_us\": %.3f}\n",
           r->messages, r->bytes, r->nanoseconds / 1e9, r->errors, r->lost, r->cpu / 1e9, percentile_us(r, .5), percentile_us(r, .99));
    fflush(stdout);
}

static inline void fail(const char *what) { fprintf(stderr, "load: %s: %s\n", what, strerror(errno)), exit(2); }

static inline struct options parse(int argc, char **argv) {
    struct options o = {.connections = 1, .size = 64, .source = 1};
    for (int c; (c = getopt(argc, argv, "p:c:s:d:n:f:w:ervb")) > 0;)
        switch (c) {
        case 'p': o.port = atoi(optarg); break;
        case 'c': o.connections = atoi(optarg); break;
        case 's': o.size = atoi(optarg); break;
        case 'd': o.seconds = atof(optarg); break;
        case 'n': o.sources = atoi(optarg); break;
        case 'f': o.source = atoi(optarg); break;
        case 'w': o.window = strtoull(optarg, NULL, 0); break;
        case 'e': o.echoes = 1; break;
        case 'r': o.reset = 1; break;
        case 'v': o.tls12 = 1; break;
        case 'b': o.batched = 1; break;
        default: exit(2);
        }
    if (o.port <= 0 || o.connections <= 0 || o.size <= 0) fprintf(stderr, "load: -p PORT, and sizes above 0\n"), exit(2);
    return o;
}

/* Connect, with -n from 127.1.x.y: one source address has only about 28 000 ports. */
static inline int dial(const struct options *o, uint64_t turn, int flags) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons(o->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0) fail("socket");
    if (o->sources) {
        struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010000u + o->source + turn % o->sources)};
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(fd, (void *)&from, sizeof from) < 0) fail("bind");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (void *)&there, sizeof there) < 0 && errno != EINPROGRESS) fail("connect");
    return fd;
}

/* Return the duration of the next round in seconds, below 0 after the last one. */
static inline double next_round(const struct options *o) {
    static int done;
    char line[64];
    if (o->seconds > 0) return done++ ? -1 : o->seconds;
    if (!done++) printf("ready\n"), fflush(stdout);
    return fgets(line, sizeof line, stdin) ? atof(line) : -1;
}
