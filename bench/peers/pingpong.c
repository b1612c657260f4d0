/* The reference for round trips: one message at a time, and nothing between the clock and the system calls.
 *
 *     cc -O2 -o pingpong pingpong.c && ./pingpong tcp|udp PORT sleep|spin COUNT [SIZE]
 *
 * `sleep` waits for the echo in recv, so its own wake-up is in the figure; `spin` polls. Every byte of an echo is compared,
 * outside of the measured time. A message without an echo ends the program through SIGALRM. */
#include "load.h"

enum { WARM = 100, TIMEOUT_S = 30 };

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int dial_udp(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
    return fd;
}

/* Return the nanoseconds from before the write until the last byte of the echo. */
static uint64_t round_trip(int fd, const char *out, char *in, int size, int flags) {
    uint64_t began = now_ns();
    if (send(fd, out, size, 0) != size) fail("send");
    for (ssize_t got = 0, n; got < size; got += n) {
        while ((n = recv(fd, in + got, size - got, flags)) < 0 && (errno == EAGAIN || errno == EINTR)) {}
        if (n == 0) errno = ECONNRESET;
        if (n <= 0) fail("recv");
    }
    return now_ns() - began;
}

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "usage: pingpong tcp|udp PORT sleep|spin COUNT [SIZE]\n"), 2;
    struct options o = {.port = atoi(argv[2])};
    int flags = strcmp(argv[3], "spin") ? 0 : MSG_DONTWAIT, count = atoi(argv[4]), size = argc > 5 ? atoi(argv[5]) : 64;
    if (count < 1 || size < 1) return fprintf(stderr, "pingpong: COUNT and SIZE above 0\n"), 2;
    int fd = strcmp(argv[1], "udp") ? dial(&o, 0, 0) : dial_udp(o.port);
    char *out = malloc(size), *in = malloc(size);
    uint64_t *took = malloc(count * sizeof *took);
    alarm(TIMEOUT_S);
    for (int i = -WARM; i < count; i++) {
        fill(out, size, 1, i);
        uint64_t ns = round_trip(fd, out, in, size, flags);
        if (memcmp(in, out, size)) return fprintf(stderr, "pingpong: wrong bytes\n"), 1;
        if (i >= 0) took[i] = ns;
    }
    qsort(took, count, sizeof *took, by_value);
    printf("{\"count\": %d, \"min_ns\": %lu, \"p50_ns\": %lu, \"p99_ns\": %lu}\n", count, took[0], took[(count - 1) / 2], took[(count * 99LL - 1) / 100]);
    return 0;
}
