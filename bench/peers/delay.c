/* An echo server with an exact delay: it sends what it reads back a fixed time after recv returned it.
 *
 *     cc -O2 -o delay delay.c && ./delay tcp|udp MILLISECONDS [PORT]
 *
 * Exact means: it never sleeps. It polls recv and the clock, so that no wake-up and no timer adds to the delay; this takes a
 * whole core. It exits with its parent process. During the delay it serves nothing else, which is enough for one client with
 * one probe in flight. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CLIENTS = 64, MAX_DATAGRAM = 65536 };

static uint64_t delay;
static char buffer[MAX_DATAGRAM];

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* To be called directly after recv. On a stream it keeps sending zero bytes: that keeps the path through the kernel in the
 * caches, so that sending the reply takes the same time after 50 ms as after none. */
static void wait_out(int stream) {
    uint64_t end = now_ns() + delay;
    while (now_ns() < end)
        if (stream >= 0) send(stream, buffer, 0, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Return 0 when the connection has ended. */
static int echo(int fd) {
    ssize_t size = recv(fd, buffer, MAX_DATAGRAM, MSG_DONTWAIT);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    wait_out(fd);
    for (ssize_t sent = 0, now; sent < size; sent += now)
        if ((now = send(fd, buffer + sent, size - sent, MSG_NOSIGNAL)) < 0) return 0;
    return size > 0;
}

static void streams(int listener) {
    int fds[MAX_CLIENTS], count = 0, fd;
    for (;;) {
        if (count < MAX_CLIENTS && (fd = accept(listener, NULL, NULL)) >= 0) fds[count++] = fd;
        for (int i = 0; i < count; i++)
            if (!echo(fds[i])) close(fds[i]), fds[i--] = fds[--count];
    }
}

static void datagrams(int fd) {
    struct sockaddr_storage peer;
    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t size = recvfrom(fd, buffer, MAX_DATAGRAM, MSG_DONTWAIT, (struct sockaddr *)&peer, &length);
        if (size < 0) continue;
        wait_out(-1);
        sendto(fd, buffer, size, 0, (struct sockaddr *)&peer, length);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(argc > 3 ? atoi(argv[3]) : 0)};
    socklen_t length = sizeof at;
    int udp = argc > 1 && !strcmp(argv[1], "udp"), one = 1;
    if (argc < 3 || (!udp && strcmp(argv[1], "tcp"))) return fprintf(stderr, "usage: delay tcp|udp MILLISECONDS [PORT]\n"), 2;
    delay = (uint64_t)(atof(argv[2]) * 1e6);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (!udp) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!udp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); /* inherited by accepted sockets */
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || (!udp && listen(fd, MAX_CLIENTS) < 0)) return perror("delay"), 1;
    getsockname(fd, (struct sockaddr *)&at, &length);
    printf("listening on %s://127.0.0.1:%d\n", udp ? "udp" : "tcp", ntohs(at.sin_port));
    fflush(stdout);
    udp ? datagrams(fd) : streams(fd);
}
