/* The reference for datagrams: short, correct echo servers in C, with one datagram per call or with many.
 *
 *     cc -O2 -o udp udp.c && ./udp plain|batch [PORT [ADDRESS]]
 *
 * Correct means: every datagram is echoed whole to its sender, also the empty and the largest one; an error concerns an
 * earlier datagram and does not end the server. `plain` is recvfrom and sendto, `batch` is recvmmsg and sendmmsg.
 * Bound to 0.0.0.0 both reply from the address of the route to the sender, which is correct on one host. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* 17 cache lines more than the largest datagram: buffers 64 KiB apart would all share one set of cache lines. */
enum { BATCH = 64, STRIDE = 65536 + 17 * 64, QUEUE = 4 << 20 };

static char buffers[BATCH][STRIDE];

static void plain(int fd) {
    struct sockaddr_storage peer;
    for (;;) {
        socklen_t length = sizeof peer;
        ssize_t size = recvfrom(fd, buffers[0], STRIDE, 0, (struct sockaddr *)&peer, &length);
        if (size >= 0) sendto(fd, buffers[0], size, 0, (struct sockaddr *)&peer, length);
    }
}

static void batch(int fd) {
    struct sockaddr_storage peers[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], STRIDE};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) parts[i].iov_len = messages[i].msg_len;
        for (int sent = 0, now; sent < count; sent += now)
            if ((now = sendmmsg(fd, messages + sent, count - sent, 0)) < 1) now = 1; /* skip the one that failed */
        for (int i = 0; i < count; i++) parts[i].iov_len = STRIDE, messages[i].msg_hdr.msg_namelen = sizeof peers[i];
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(argc > 2 ? atoi(argv[2]) : 0)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), queue = QUEUE, many = argc > 1 && !strcmp(argv[1], "batch");
    if (argc < 2 || (!many && strcmp(argv[1], "plain"))) return fprintf(stderr, "usage: udp plain|batch [PORT [ADDRESS]]\n"), 2;
    if (argc > 3 && !inet_pton(AF_INET, argv[3], &at.sin_addr)) return fprintf(stderr, "udp: an IPv4 address, not %s\n", argv[3]), 2;
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0) return perror("udp"), 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue);
    getsockname(fd, (struct sockaddr *)&at, &length);
    printf("listening on udp://%s:%d\n", inet_ntoa(at.sin_addr), ntohs(at.sin_port));
    fflush(stdout);
    many ? batch(fd) : plain(fd);
}
